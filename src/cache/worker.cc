#include "cache/worker.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace infinicache::cache {
namespace {
constexpr std::size_t kIdlePipesMax = 16;
constexpr Duration kWakePatienceMin = std::chrono::milliseconds(50);
constexpr Duration kWakePatienceMax = std::chrono::seconds(2);
}  // namespace

const coding::Codec& Worker::CodecFor(coding::Code code) {
  auto& codec = codecs_[static_cast<std::uint16_t>(code.data << 8 | code.parity)];
  if (!codec) codec = coding::Codec::For(code);
  return *codec;
}

Result<net::Pipe> Worker::TakePipe() {
  if (pipes_.empty()) return net::Pipe::Open();
  net::Pipe pipe = std::move(pipes_.back());
  pipes_.pop_back();
  return pipe;
}

void Worker::ReturnPipe(net::Pipe pipe) {
  if (pipe.size() == 0 && pipes_.size() < kIdlePipesMax) pipes_.push_back(std::move(pipe));
}

pool::Link* Worker::LinkTo(pool::Place place) {
  if (place.IsNowhere()) return nullptr;
  pool::Link& link = links_.at(place.node);
  return link.IsCurrent() && link.shared().Holds(place.epoch) ? &link : nullptr;
}

pool::Place Worker::PlaceOn(const ObjectRecord& object, std::size_t chunk, pool::Link& link) {
  const pool::Place place = object.place(chunk);
  return place.node == link.node() && LinkTo(place) == &link
             ? place
             : pool::Place{link.node(), link.epoch()};
}

bool Worker::IsWhole(const ObjectRecord& object) {
  for (std::size_t i = 0; i < object.width(); ++i) {
    if (!Survives(object.place(i))) return false;
  }
  return true;
}

Directory::CommitResult Worker::Commit(ObjectRef object, Directory::Condition condition,
                                       bool keep_expiry, std::optional<WallMillis> expires_at) {
  const ObjectRef written = object;
  const WallMillis told = written->expires_at();
  if (expires_at) written->set_expires_at(*expires_at);
  auto result = shared_.directory.Commit(std::move(object), condition, keep_expiry);
  if (result.committed && written->expires_at() != told)
    written->TellExpiry(written->expires_at(), written->width());
  if (result.committed && !IsWhole(*written)) shared_.repairs->Add(written);
  return result;
}

Duration Worker::WakePatience() const {
  const policy::SmoothedDelay& delay = links_.wake_delay();
  if (!delay.seen()) return kWakePatienceMax;
  return std::clamp(2 * delay.Get(), kWakePatienceMin, kWakePatienceMax);
}

bool Worker::SetExpiry(const ObjectRef& object, WallMillis when) {
  if (!shared_.directory.SetExpiry(object, when)) return false;
  object->TellExpiry(when, object->width());
  return true;
}

bool Worker::Lose(const ObjectRef& object) {
  if (!shared_.directory.RemoveIfCurrent(object)) return false;
  std::size_t readable = 0;  // if nothing had been corrupt
  std::vector<pool::Place> gone;
  for (std::size_t i = 0; i < object->width(); ++i) {
    const pool::Place last = object->last_place(i);
    const bool lives = Survives(last);
    if (lives && (object->was_corrupt(i) || !object->place(i).IsNowhere())) ++readable;
    if (!last.IsNowhere() && (!lives || object->place(i).IsNowhere())) gone.push_back(last);
  }
  const bool corrupt = readable >= object->layout().code.data;
  shared_.gone.AddLoss(corrupt ? GoneCause::kCorrupt : GoneCause::kReclaimed, object->key(),
                       object->bytes(), std::move(gone));
  return true;
}

bool Worker::IsUsable(pool::Link& link) {
  return link.available() && !link.suspect() &&
         link.shared().epoch.load(std::memory_order_acquire) == link.epoch().value();
}

// `bytes_wanted` of the node's memory; what it has free is another matter.
policy::NodeForPlacement Worker::ForPlacement(pool::Link& link, std::uint64_t bytes_wanted) {
  const pool::NodeShared& shared = link.shared();
  const bool usable =
      IsUsable(link) && shared.bytes_limit.load(std::memory_order_relaxed) >= bytes_wanted;
  return {link.node(), shared.FreeBytes(link.stock()), usable, shared.host};
}

std::vector<policy::NodeForPlacement> Worker::NodesForPlacement(std::uint64_t bytes_wanted,
                                                                std::span<const NodeId> excluded) {
  std::vector<policy::NodeForPlacement> nodes;
  nodes.reserve(links_.all().size());
  for (const auto& link : links_.all()) {
    nodes.push_back(ForPlacement(*link, bytes_wanted));
    if (std::find(excluded.begin(), excluded.end(), link->node()) != excluded.end())
      nodes.back().usable = false;
  }
  return nodes;
}

std::vector<std::uint32_t> Worker::HostsOf(std::span<const NodeId> nodes) {
  std::vector<std::uint32_t> hosts;
  hosts.reserve(nodes.size());
  for (const NodeId node : nodes) hosts.push_back(links_.at(node).shared().host);
  return hosts;
}

std::vector<NodeId> Worker::ChooseNodes(std::size_t count, std::uint64_t chunk_bytes,
                                        std::span<const NodeId> excluded) {
  return policy::ChooseNodes(NodesForPlacement(chunk_bytes, excluded), count, chunk_bytes,
                             HostsOf(excluded), random_);
}

std::vector<NodeId> Worker::ChooseHolders(const ObjectRecord& object, std::size_t count,
                                          std::uint64_t chunk_bytes) {
  std::vector<policy::NodeForPlacement> nodes;
  nodes.reserve(object.width());
  for (std::size_t i = 0; i < object.width(); ++i) {
    if (pool::Link* const link = LinkTo(object.place(i)); link != nullptr)
      nodes.push_back(ForPlacement(*link, chunk_bytes));
  }
  return policy::ChooseNodes(nodes, count, chunk_bytes, {}, random_);
}

std::vector<NodeId> Worker::ChooseFullNodes(std::size_t count, std::uint64_t chunk_bytes,
                                            std::span<const NodeId> excluded) {
  return policy::ChooseFullNodes(NodesForPlacement(chunk_bytes, excluded), count, HostsOf(excluded),
                                 random_);
}

}  // namespace infinicache::cache
