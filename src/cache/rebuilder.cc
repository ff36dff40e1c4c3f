#include "cache/rebuilder.h"

#include <algorithm>

#include "base/log.h"
#include "wire/inventory.h"

namespace infinicache::cache {
namespace {

// How soon a link that came back, an instance that ended, or a stop is noticed.
constexpr Duration kLookEvery = std::chrono::milliseconds(20);

}  // namespace

Rebuilder::Rebuilder(Worker& worker, std::vector<pool::Place> sources, std::size_t nodes_lost)
    : worker_(worker),
      merge_(sources, nodes_lost, worker.options().parity_min),
      last_version_(worker.shared().last_version.load(std::memory_order_relaxed)),
      changed_(worker.loop()) {
  for (const pool::Place place : sources) {
    sources_.emplace_back().place = place;
    sources_.back().silent_since = net::EventLoop::Now();
  }
}

Rebuilder::~Rebuilder() {
  for (const Source& source : sources_)
    if (source.request != 0) source.link->Forget(source.request);
}

net::Task<> Rebuilder::Run() {
  while (!merge_.done() && !worker_.stopping()) {
    AskAll();
    NoteVersions();
    Settle();
    if (!merge_.done()) co_await changed_.Wait(net::EventLoop::Now() + kLookEvery);
  }
  if (worker_.stopping()) co_return;
  NoteVersions();
  Settle();
  worker_.shared().rebuild.Finish();
}

void Rebuilder::AskAll() {
  const TimePoint now = net::EventLoop::Now();
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    Source& source = sources_[i];
    if (merge_.HasEnded(i)) continue;
    if (!worker_.links().at(source.place.node).shared().Holds(source.place.epoch)) {
      if (source.request != 0) source.link->Forget(std::exchange(source.request, 0));
      merge_.Drop(i);
    } else if (source.request == 0 && !merge_.MayAsk(i)) {
      source.silent_since = now;  // it waits for others
    } else if (now - source.silent_since > kAnswerAtMost) {
      GiveUp(i);
    } else if (source.request == 0) {
      Ask(i);
    }
  }
}

void Rebuilder::Ask(std::size_t index) {
  Source& source = sources_[index];
  pool::Link* const link = worker_.LinkTo(source.place);
  if (link == nullptr) return;  // not yet, or not again yet
  source.link = link;
  source.request = link->Register(this);
  link->Send(wire::EncodeInventoryRequest(source.request, source.last));
}

void Rebuilder::GiveUp(std::size_t index) {
  Source& source = sources_[index];
  LOG_WARN("node {} does not tell what it holds; its chunks count as lost",
           source.place.node.value());
  if (source.request != 0) source.link->Forget(std::exchange(source.request, 0));
  merge_.GiveUp(index);
}

std::size_t Rebuilder::SourceOf(const pool::Link& link) const {
  const auto found = std::find_if(sources_.begin(), sources_.end(),
                                  [&](const Source& source) { return source.link == &link; });
  return static_cast<std::size_t>(found - sources_.begin());
}

pool::FrameSink::Target Rebuilder::OnData(pool::Link& link, const wire::FrameHeader& header) {
  Source& source = sources_[SourceOf(link)];
  source.page = std::make_shared<std::string>(header.payload_bytes, '\0');
  return {Target::Kind::kMemory, reinterpret_cast<std::byte*>(source.page->data()), source.page};
}

void Rebuilder::OnFrame(pool::Link& link, const wire::FrameHeader& header) {
  link.Forget(header.request);
  const std::size_t index = SourceOf(link);
  sources_[index].request = 0;
  sources_[index].silent_since = net::EventLoop::Now();
  TakePage(index, header);
  changed_.Notify();
}

void Rebuilder::OnLinkLost(pool::Link& link, std::uint64_t) {
  sources_[SourceOf(link)].request = 0;
  changed_.Notify();
}

void Rebuilder::TakePage(std::size_t index, const wire::FrameHeader& header) {
  Source& source = sources_[index];
  const auto page = std::exchange(source.page, nullptr);
  auto entries = header.type == wire::FrameType::kInventoryReply && page != nullptr
                     ? wire::ParseInventoryPage(*page)
                     : Fail(ErrorCode::kProtocol, "the answer is no inventory");
  if (!entries) {
    LOG_WARN("inventory of node {}: {}", source.place.node.value(), entries.error().ToString());
    GiveUp(index);
    return;
  }
  if (!source.last) last_version_ = std::max(last_version_, header.offset);
  merge_.SetSince(index, Version(header.length));
  source.last = header.chunk;
  Add(worker_.stats().chunks_listed, entries->size());
  // Listed by a node that was asked anew after its link had broken.
  if (versions_known_)
    std::erase_if(*entries, [this](const auto& entry) { return IsOfThisRun(entry.chunk.version); });
  merge_.AddPage(index, std::move(*entries), header.chunk.object,
                 (header.flags & wire::kFlagLast) != 0);
}

// Once every node has told its highest version, ours go on above all of them.
void Rebuilder::NoteVersions() {
  if (versions_known_) return;
  for (std::size_t i = 0; i < sources_.size(); ++i)
    if (!sources_[i].last && !merge_.HasEnded(i)) return;
  versions_known_ = true;
  CacheShared& shared = worker_.shared();
  std::uint64_t last = shared.last_version.load(std::memory_order_relaxed);
  while (last < last_version_ && !shared.last_version.compare_exchange_weak(
                                     last, last_version_, std::memory_order_relaxed)) {
  }
  shared.rebuild.NoteVersions();
}

bool Rebuilder::IsOfThisRun(Version version) const {
  return version.value() > last_version_;
}

void Rebuilder::Settle() {
  if (!versions_known_) return;
  CacheShared& shared = worker_.shared();
  const ObjectId below = merge_.settled_below();
  InventoryMerge::Settled settled = merge_.TakeSettled(shared.clock.WallNow());
  for (InventoryMerge::Found& found : settled.found) Insert(found);
  for (const InventoryMerge::Orphan& orphan : settled.orphans) {
    shared.reclaimer->Reclaim(orphan.place, orphan.chunk);
    Add(worker_.stats().orphans_freed);
  }
  Count(settled);
  shared.rebuild.SetSettledBelow(below);
}

void Rebuilder::Insert(InventoryMerge::Found& found) {
  CacheShared& shared = worker_.shared();
  auto object = std::make_shared<ObjectRecord>(std::move(found.key), found.object, found.version,
                                               found.layout, shared.reclaimer);
  for (std::size_t i = 0; i < found.places.size(); ++i)
    if (!found.places[i].IsNowhere()) object->set_place(i, found.places[i]);
  Add(worker_.stats().objects_rebuilt);
  Add(worker_.stats().bytes_rebuilt, object->bytes());
  object->set_expires_at(found.expires_at);  // which the nodes know
  worker_.Commit(std::move(object), Directory::Condition::kAlways, false);
}

void Rebuilder::Count(const InventoryMerge::Settled& settled) {
  GoneLog& gone = worker_.shared().gone;
  for (const auto& torn : settled.torn) gone.Count(GoneCause::kTorn, 1, torn.bytes);
  for (const auto& expired : settled.expired) gone.Count(GoneCause::kExpired, 1, expired.bytes);
  for (const auto& lost : settled.reclaimed)
    gone.AddLoss(GoneCause::kReclaimed, lost.key, lost.bytes, {});
}

}  // namespace infinicache::cache
