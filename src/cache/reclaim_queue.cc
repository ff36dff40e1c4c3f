#include "cache/reclaim_queue.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

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

ReclaimQueue::ReclaimQueue(pool::LoopLinks& links) : links_(links), retry_(links.loop()) {}

void ReclaimQueue::Reclaim(pool::Place place, const ChunkId& chunk) {
  const std::scoped_lock lock(mutex_);
  if (stopped_) return;
  entries_.push_back({place, chunk});
  if (flush_posted_) return;
  flush_posted_ = true;
  links_.loop().Post([this] { Flush(); });
}

void ReclaimQueue::Stop() {
  const std::scoped_lock lock(mutex_);
  stopped_ = true;
  entries_.clear();
  retry_.Cancel();
}

std::size_t ReclaimQueue::size() const {
  const std::scoped_lock lock(mutex_);
  return entries_.size();
}

void ReclaimQueue::Flush() {
  std::vector<Entry> entries;
  {
    const std::scoped_lock lock(mutex_);
    entries.swap(entries_);
    flush_posted_ = false;
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.place.node < b.place.node; });
  std::vector<Entry> later;
  std::vector<ChunkId> batch;
  const auto send_to = [&](NodeId node) {
    if (batch.empty()) return;
    wire::FrameHeader header;
    header.type = wire::FrameType::kDelete;
    links_.at(node).Send(header, EncodeChunkList(batch));
    batch.clear();
  };
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    pool::Link& link = links_.at(entry.place.node);
    if (link.shared().Holds(entry.place.epoch)) {
      if (link.epoch() == entry.place.epoch) {
        batch.push_back(entry.chunk);
      } else {
        later.push_back(entry);
      }
    }
    const bool last_of_node =
        i + 1 == entries.size() || entries[i + 1].place.node != entry.place.node;
    if (last_of_node || batch.size() == kDeleteBatch) send_to(entry.place.node);
  }
  if (later.empty()) return;
  const std::scoped_lock lock(mutex_);
  if (stopped_) return;
  entries_.insert(entries_.end(), later.begin(), later.end());
  if (flush_posted_) return;
  flush_posted_ = true;
  retry_.Start(kRetryAfter, [this] { Flush(); });
}

}  // namespace infinicache::cache
