#include "cache/room_claim.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace infinicache::cache {
namespace {

constexpr Duration kPoll = std::chrono::milliseconds(1);
// How long one round waits for nodes to tell that they have deleted.
constexpr Duration kDeletesAtMost = std::chrono::milliseconds(100);
// How long a claim outlasts that there is no victim, while others make room or readers end.
constexpr Duration kIdleAtMost = std::chrono::milliseconds(500);
constexpr Duration kIdlePoll = std::chrono::milliseconds(5);
// Searches of a round that may be in vain; each looks at other objects.
constexpr int kSearches = 16;

}  // namespace

RoomClaim::RoomClaim(Worker& worker, std::vector<NodeId> nodes, std::uint64_t bytes,
                     std::uint64_t spare_bytes)
    : worker_(worker), nodes_(std::move(nodes)), bytes_(bytes), spare_bytes_(spare_bytes) {
  for (const NodeId node : nodes_)
    shared(node).bytes_reserved.fetch_add(bytes_, std::memory_order_relaxed);
}

RoomClaim::~RoomClaim() {
  DropCredits(true);
  for (const NodeId node : nodes_)
    shared(node).bytes_reserved.fetch_sub(bytes_, std::memory_order_relaxed);
}

net::Task<Status> RoomClaim::Make(bool refused) {
  const TimePoint begin = net::EventLoop::Now();
  TimePoint progress = begin;
  co_await AwaitDeletes(kDeletesFirst);
  while (refused || !IsMade()) {
    const TimePoint now = net::EventLoop::Now();
    const bool all = std::exchange(refused, false);
    const bool evicted = Evict(Lacking(all));
    if (evicted) progress = now;
    if (worker_.stopping()) co_return Fail(ErrorCode::kCancelled, "the server stops");
    if (now - progress > kIdleAtMost || now - begin > kMakeAtMost) {
      co_return Fail(ErrorCode::kOutOfMemory,
                     fmt::format("no room for {} chunks of {} bytes", nodes_.size(), bytes_));
    }
    if (!evicted) co_await worker_.loop().Sleep(kIdlePoll);
    co_await AwaitDeletes(kDeletesAtMost, all);
    DropCredits(false);
  }
  co_return Status{};
}

// What the loop has at hand of a node's memory is of use for a write, but no spare room.
std::uint64_t RoomClaim::MissingBytes(NodeId node) {
  const std::uint64_t stock = spare_bytes_ == 0 ? worker_.links().at(node).stock() : 0;
  const std::uint64_t wanted = shared(node).MissingBytes(stock) + spare_bytes_;
  const std::uint64_t free = shared(node).FreeBytes(stock);
  return wanted > free ? wanted - free : 0;
}

bool RoomClaim::IsMade() {
  return std::all_of(nodes_.begin(), nodes_.end(),
                     [this](NodeId node) { return MissingBytes(node) == 0; });
}

std::vector<std::uint64_t> RoomClaim::Lacking(bool refused) {
  std::vector<std::uint64_t> lacking(worker_.links().all().size(), 0);
  for (const NodeId node : nodes_) {
    pool::NodeShared& state = shared(node);
    const std::uint64_t freeing = state.bytes_freeing.load(std::memory_order_relaxed);
    const std::uint64_t missing = std::max(MissingBytes(node), refused ? bytes_ : 0);
    if (missing <= freeing) continue;
    lacking[node.value()] = missing - freeing + state.bytes_limit / kSpareShare;
  }
  return lacking;
}

bool RoomClaim::Evict(std::vector<std::uint64_t> lacking) {
  bool evicted = RemoveExpired(lacking);
  CacheShared& cache = worker_.shared();
  const auto frees = [&](const ObjectRecord& object) {
    for (std::size_t i = 0; i < object.width(); ++i) {
      const pool::Place place = object.place(i);
      if (worker_.Survives(place) && lacking[place.node.value()] > 0) return true;
    }
    return false;
  };
  int searches = 2 * kSearches;
  for (std::size_t victims = 0; victims < kVictimsMax && searches > 0 && LacksAny(lacking);) {
    const bool idle = searches > kSearches;
    const ObjectRef victim = cache.evictor.Next(frees, idle);
    if (victim == nullptr) --searches;
    // One that is deleted or overwritten at this moment frees its bytes too.
    if (victim == nullptr || !cache.directory.RemoveIfCurrent(victim)) continue;
    ++victims;
    evicted = true;
    // A reader that has found it at the last moment keeps its bytes for a while: another goes too.
    if (!idle || victim.use_count() == 1) Credit(victim, lacking);
    cache.gone.Count(GoneCause::kEvicted, 1, victim->bytes());
  }
  return evicted;
}

bool RoomClaim::LacksAny(const std::vector<std::uint64_t>& lacking) const {
  return std::any_of(nodes_.begin(), nodes_.end(),
                     [&](NodeId node) { return lacking[node.value()] > 0; });
}

bool RoomClaim::RemoveExpired(std::vector<std::uint64_t>& lacking) {
  CacheShared& cache = worker_.shared();
  const WallMillis now = cache.clock.WallNow();
  bool any = false;
  for (std::size_t count = 0; count < kVictimsMax && LacksAny(lacking); ++count) {
    const ObjectRef expired = cache.evictor.Expired(now);
    if (expired == nullptr) break;
    cache.directory.Find(expired->key());  // which removes what has expired
    Credit(expired, lacking);
    any = true;
  }
  return any;
}

// Notes what is about to be freed, on whichever node: others may lack it.
void RoomClaim::Credit(const ObjectRef& gone, std::vector<std::uint64_t>& lacking) {
  Leaving leaving{gone, {}};
  for (std::size_t i = 0; i < gone->width(); ++i) {
    const pool::Place place = gone->place(i);
    if (!worker_.Survives(place)) continue;
    const std::uint64_t bytes = gone->StoredBytes(i);
    std::uint64_t& rest = lacking[place.node.value()];
    rest -= std::min(rest, bytes);
    shared(place.node).bytes_freeing.fetch_add(bytes, std::memory_order_relaxed);
    leaving.bytes.emplace_back(place.node, bytes);
  }
  leaving_.push_back(std::move(leaving));
}

void RoomClaim::DropCredits(bool all) {
  std::erase_if(leaving_, [&](const Leaving& leaving) {
    if (!all && !leaving.object.expired()) return false;
    for (const auto& [node, bytes] : leaving.bytes)
      shared(node).bytes_freeing.fetch_sub(bytes, std::memory_order_relaxed);
    return true;
  });
}

net::Task<> RoomClaim::AwaitDeletes(Duration at_most, bool all) {
  ChunkReclaimer& reclaimer = *worker_.shared().reclaimer;
  if (reclaimer.pending() == 0) co_return;
  reclaimer.Flush();
  const TimePoint deadline = net::EventLoop::Now() + at_most;
  while (reclaimer.pending() > 0 && (all || !IsMade()) && net::EventLoop::Now() < deadline)
    co_await worker_.loop().Sleep(kPoll);
}

namespace {

net::Task<> MakeSpareRoom(Worker& worker, std::vector<NodeId> nodes, std::uint64_t bytes) {
  RoomClaim claim(worker, std::move(nodes), 0, bytes);
  co_await claim.Make();
  worker.set_keeping_room(false);
}

}  // namespace

void KeepRoom(Worker& worker) {
  if (worker.keeping_room() || !worker.shared().evictor.enabled()) return;
  std::vector<NodeId> nodes;
  std::uint64_t spare = 0;
  for (const auto& link : worker.links().all()) {
    const pool::NodeShared& node = link->shared();
    if (!Worker::IsUsable(*link)) continue;
    const std::uint64_t share =
        link->lends_in_pieces() ? RoomClaim::kSpareShareInPieces : RoomClaim::kSpareShare;
    const std::uint64_t least = node.bytes_limit / share;
    if (node.FreeBytes() >= least) continue;
    nodes.push_back(link->node());
    spare = std::max(spare, least);
  }
  if (nodes.empty()) return;
  worker.set_keeping_room(true);
  worker.loop().Spawn(MakeSpareRoom(worker, std::move(nodes), spare));
}

}  // namespace infinicache::cache
