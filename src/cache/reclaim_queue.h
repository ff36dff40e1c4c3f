// Chunks to be freed on their nodes: collected from any thread, sent in batches by one event loop.
//
// A chunk whose instance has ended is gone already; one whose link is down for the moment is tried
// again. The queue holds 24 bytes per chunk and never more than there are chunks.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "cache/object.h"
#include "net/event_loop.h"
#include "net/timer.h"
#include "pool/pool.h"

namespace infinicache::cache {

// The metadata block of a kDelete frame: 18 bytes per chunk. REQUIRES: at most kDeleteBatch chunks.
inline constexpr std::size_t kDeleteBatch = 2048;
std::string EncodeChunkList(std::span<const ChunkId> chunks);

class ReclaimQueue final : public ChunkReclaimer {
 public:
  // Sends through `links`, on its loop. REQUIRES: links outlive the queue or Stop is called first.
  explicit ReclaimQueue(pool::LoopLinks& links);

  void Reclaim(pool::Place place, const ChunkId& chunk) override;
  // From then on chunks are forgotten instead of freed. On the loop.
  void Stop();
  // Chunks that wait. From any thread.
  std::size_t size() const;

 private:
  struct Entry {
    pool::Place place;
    ChunkId chunk;
  };

  void Flush();

  pool::LoopLinks& links_;
  net::Timer retry_;
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
  bool flush_posted_ = false;
  bool stopped_ = false;
};

}  // namespace infinicache::cache
