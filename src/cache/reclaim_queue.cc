#include "cache/reclaim_queue.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace infinicache::cache {
namespace {
constexpr auto kRetryAfter = std::chrono::milliseconds(200);
}  // namespace

std::string EncodeChunkList(std::span<const ChunkId> chunks) {
  constexpr std::size_t kEntryBytes = 18;
  std::string list(chunks.size() * kEntryBytes, '\0');
  char* at = list.data();
  for (const ChunkId& chunk : chunks) {
    const std::uint64_t object = chunk.object.value();
    const std::uint64_t version = chunk.version.value();
    std::memcpy(at, &object, 8);
    std::memcpy(at + 8, &version, 8);
    std::memcpy(at + 16, &chunk.index, 2);
    at += kEntryBytes;
  }
  return list;
}

ReclaimQueue::ReclaimQueue(pool::LoopLinks& links) : links_(links), timer_(links.loop()) {}

void ReclaimQueue::Reclaim(pool::Place place, const ChunkId& chunk) {
  const std::scoped_lock lock(mutex_);
  if (stopped_) return;
  entries_.push_back({place, chunk});
  if (std::exchange(send_planned_, true)) return;
  links_.loop().Post([this] { timer_.Start(kGatherFor, [this] { Send(); }); });
}

void ReclaimQueue::Flush() {
  links_.loop().Post([this] { Send(); });
}

std::size_t ReclaimQueue::pending() const {
  const std::scoped_lock lock(mutex_);
  return entries_.size() + unanswered_chunks_;
}

void ReclaimQueue::Stop() {
  timer_.Cancel();
  for (const auto& [request, entries] : unanswered_) request.first->Forget(request.second);
  unanswered_.clear();
  const std::scoped_lock lock(mutex_);
  stopped_ = true;
  entries_.clear();
  unanswered_chunks_ = 0;
}

void ReclaimQueue::Send() {
  std::vector<Entry> entries;
  {
    const std::scoped_lock lock(mutex_);
    entries.swap(entries_);
    send_planned_ = false;
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.place.node < b.place.node; });
  std::vector<Entry> unreachable;
  std::vector<Entry> batch;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    pool::Link& link = links_.at(entry.place.node);
    if (link.epoch() == entry.place.epoch) {
      batch.push_back(entry);
    } else if (link.shared().Holds(entry.place.epoch)) {
      unreachable.push_back(entry);
    }
    const bool last_of_node =
        i + 1 == entries.size() || entries[i + 1].place.node != entry.place.node;
    if (batch.empty() || (!last_of_node && batch.size() < kDeleteBatch)) continue;
    SendTo(link, batch);
    batch.clear();
  }
  Requeue(unreachable);
}

void ReclaimQueue::SendTo(pool::Link& link, std::span<const Entry> entries) {
  std::vector<ChunkId> chunks;
  chunks.reserve(entries.size());
  for (const Entry& entry : entries) chunks.push_back(entry.chunk);
  wire::FrameHeader header;
  header.type = wire::FrameType::kDelete;
  header.request = link.Register(this);
  unanswered_.emplace(std::pair(&link, header.request),
                      std::vector<Entry>(entries.begin(), entries.end()));
  {
    const std::scoped_lock lock(mutex_);
    unanswered_chunks_ += entries.size();
  }
  link.Send(header, EncodeChunkList(chunks));
}

void ReclaimQueue::Requeue(std::span<const Entry> entries) {
  if (entries.empty()) return;
  const std::scoped_lock lock(mutex_);
  if (stopped_) return;
  entries_.insert(entries_.end(), entries.begin(), entries.end());
  if (std::exchange(send_planned_, true)) return;
  timer_.Start(kRetryAfter, [this] { Send(); });
}

ReclaimQueue::Unanswered::node_type ReclaimQueue::TakeAnswered(pool::Link& link,
                                                               std::uint64_t request) {
  auto answered = unanswered_.extract({&link, request});
  CHECK(!answered.empty());
  const std::scoped_lock lock(mutex_);
  unanswered_chunks_ -= answered.mapped().size();
  return answered;
}

pool::FrameSink::Target ReclaimQueue::OnData(pool::Link&, const wire::FrameHeader&) {
  return {};
}

void ReclaimQueue::OnFrame(pool::Link& link, const wire::FrameHeader& header) {
  link.Forget(header.request);
  TakeAnswered(link, header.request);
}

void ReclaimQueue::OnLinkLost(pool::Link& link, std::uint64_t request) {
  Requeue(TakeAnswered(link, request).mapped());
}

}  // namespace infinicache::cache
