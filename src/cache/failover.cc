#include "cache/failover.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace infinicache::cache {
namespace {

// How soon a link that came back, an instance that ended, or a stop is noticed.
constexpr Duration kLookEvery = std::chrono::milliseconds(20);

}  // namespace

Failover::Failover(Worker& worker, pool::Place taken)
    : worker_(worker),
      taken_(taken),
      newest_(worker.shared().last_version.load(std::memory_order_relaxed)),
      changed_(worker.loop()),
      link_(worker.links().at(taken.node)) {}

Failover::~Failover() {
  if (request_ != 0) link_.Forget(request_);
}

bool Failover::IsOver() const {
  return worker_.stopping() || link_.shared().epoch.load() != taken_.epoch.value();
}

net::Task<> Failover::Run() {
  TimePoint deadline = net::EventLoop::Now() + kAnswerAtMost;
  std::uint64_t listed = 0;
  while (!done_ && !IsOver() && net::EventLoop::Now() < deadline) {
    if (request_ == 0) Ask();
    co_await changed_.Wait(net::EventLoop::Now() + kLookEvery);
    if (std::exchange(listed, listed_) != listed_) deadline = net::EventLoop::Now() + kAnswerAtMost;
  }
  if (!done_ && !IsOver()) {
    LOG_WARN("node {} does not tell what it has taken over; what it did not list counts as lost",
             taken_.node.value());
  }
  Add(worker_.stats().chunks_kept, kept_);
}

void Failover::Ask() {
  if (!link_.available() || link_.epoch() != taken_.epoch) return;
  request_ = link_.Register(this);
  link_.Send(wire::EncodeInventoryRequest(request_, last_));
}

pool::FrameSink::Target Failover::OnData(pool::Link&, const wire::FrameHeader& header) {
  page_ = std::make_shared<std::string>(header.payload_bytes, '\0');
  return {Target::Kind::kMemory, reinterpret_cast<std::byte*>(page_->data()), page_};
}

void Failover::OnFrame(pool::Link& link, const wire::FrameHeader& header) {
  link.Forget(std::exchange(request_, 0));
  if (header.type == wire::FrameType::kDeleted) {
    freed_ = true;
  } else if (!IsOver()) {
    TakePage(header);
  }
  changed_.Notify();
}

void Failover::OnLinkLost(pool::Link&, std::uint64_t) {
  request_ = 0;
  changed_.Notify();
}

void Failover::TakePage(const wire::FrameHeader& header) {
  const auto page = std::exchange(page_, nullptr);
  auto entries = header.type == wire::FrameType::kInventoryReply && page != nullptr
                     ? wire::ParseInventoryPage(*page)
                     : Fail(ErrorCode::kProtocol, "the answer is no inventory");
  if (!entries) {
    LOG_WARN("inventory of node {}: {}", taken_.node.value(), entries.error().ToString());
    return;  // and asked again
  }
  last_ = header.chunk;
  done_ = (header.flags & wire::kFlagLast) != 0;
  for (wire::InventoryEntry& entry : *entries) {
    ++listed_;
    switch (Judge(worker_, entry, taken_, newest_)) {
      case Verdict::kKeep:
        ++kept_;
        break;
      case Verdict::kIgnore:
        break;
      case Verdict::kFree:
        stale_.push_back(entry.chunk);
        break;
      case Verdict::kFreeLater:
        orphans_.push_back({entry.chunk, std::move(entry.meta.key)});
        break;
    }
  }
}

Verdict Failover::Judge(Worker& worker, const wire::InventoryEntry& entry, pool::Place taken,
                        Version newest) {
  const ChunkId& chunk = entry.chunk;
  if (chunk.version > newest) return Verdict::kIgnore;  // written to this instance
  const ObjectRef object = worker.shared().directory.Find(entry.meta.key);
  if (object == nullptr) return Verdict::kFreeLater;
  if (object->version() != chunk.version)
    return object->version() > chunk.version ? Verdict::kFree : Verdict::kFreeLater;
  if (chunk.index >= object->width() ||
      entry.meta.chunk_bytes != object->layout().ChunkBytes(chunk.index))
    return Verdict::kFree;
  const pool::Place last = object->last_place(chunk.index);
  if (last == taken) return Verdict::kIgnore;  // stored, or moved, already
  const bool survives = worker.Survives(object->place(chunk.index));
  if (survives && last.node != taken.node) return Verdict::kFree;
  // Repair may be putting it elsewhere.
  if (!survives && object->repair_pending) return Verdict::kFreeLater;
  return object->MovePlace(chunk.index, last, taken) ? Verdict::kKeep : Verdict::kFreeLater;
}

net::Task<bool> Failover::FreeOrphans() {
  const bool stale_freed = co_await Free(stale_);
  const TimePoint begin = net::EventLoop::Now();
  while (!orphans_.empty() && !IsOver() && net::EventLoop::Now() < begin + kOrphanPatience)
    co_await changed_.Wait(net::EventLoop::Now() + kLookEvery);
  std::vector<ChunkId> unknown;
  for (const Orphan& orphan : orphans_) {
    const ObjectRef object = worker_.shared().directory.Find(orphan.key);
    const bool known = object != nullptr && object->version() == orphan.chunk.version &&
                       object->place(orphan.chunk.index) == taken_;
    if (!known) unknown.push_back(orphan.chunk);
  }
  const bool unknown_freed = co_await Free(unknown);
  const bool freed = stale_freed && unknown_freed && done_;
  co_return freed;
}

net::Task<bool> Failover::Free(std::span<const ChunkId> chunks) {
  TimePoint deadline = net::EventLoop::Now() + kAnswerAtMost;
  while (!chunks.empty()) {
    const auto batch = chunks.first(std::min(chunks.size(), wire::kChunkListMax));
    if (IsOver() || net::EventLoop::Now() >= deadline) co_return false;
    if (request_ == 0 && link_.available() && link_.epoch() == taken_.epoch) {
      wire::FrameHeader header;
      header.type = wire::FrameType::kDelete;
      header.request = request_ = link_.Register(this);
      link_.Send(header, wire::EncodeChunkList(batch));
    }
    co_await changed_.Wait(net::EventLoop::Now() + kLookEvery);
    if (!std::exchange(freed_, false)) continue;
    chunks = chunks.subspan(batch.size());
    deadline = net::EventLoop::Now() + kAnswerAtMost;
  }
  co_return !IsOver();
}

}  // namespace infinicache::cache
