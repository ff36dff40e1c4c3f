// Chunks to be freed on their nodes: collected from any thread, sent in batches by one event loop.
//
// What comes in within kGatherFor goes out together: under a stream of overwrites a message per
// node and batch instead of one per node and object. A writer that finds no room calls Flush and
// waits until pending() is 0. A chunk whose instance has ended is gone already; one whose link is
// down, or breaks before the node has answered, is tried again. The queue holds 32 bytes per chunk
// and never more than there are chunks.
#pragma once

#include <map>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cache/object.h"
#include "net/event_loop.h"
#include "net/timer.h"
#include "pool/pool.h"

namespace infinicache::cache {

// The metadata block of a kDelete frame: 18 bytes per chunk. REQUIRES: at most kDeleteBatch chunks.
inline constexpr std::size_t kDeleteBatch = 2048;
std::string EncodeChunkList(std::span<const ChunkId> chunks);

class ReclaimQueue final : public ChunkReclaimer, private pool::FrameSink {
 public:
  static constexpr Duration kGatherFor = std::chrono::milliseconds(20);

  // Sends through `links`, on its loop. REQUIRES: links outlive the queue or Stop is called first.
  explicit ReclaimQueue(pool::LoopLinks& links);

  void Reclaim(pool::Place place, const ChunkId& chunk) override;
  void Flush() override;
  std::size_t pending() const override;
  // From then on chunks are forgotten instead of freed. On the loop.
  void Stop();

 private:
  struct Entry {
    pool::Place place;
    ChunkId chunk;
  };

  // By link and request.
  using Unanswered = std::map<std::pair<pool::Link*, std::uint64_t>, std::vector<Entry>>;

  Target OnData(pool::Link& link, const wire::FrameHeader& header) override;
  void OnFrame(pool::Link& link, const wire::FrameHeader& header) override;
  void OnLinkLost(pool::Link& link, std::uint64_t request) override;

  void Send();
  void SendTo(pool::Link& link, std::span<const Entry> entries);
  // Puts entries back, to be tried again somewhat later. On the loop.
  void Requeue(std::span<const Entry> entries);
  Unanswered::node_type TakeAnswered(pool::Link& link, std::uint64_t request);

  pool::LoopLinks& links_;
  net::Timer timer_;          // on the loop
  Unanswered unanswered_;     // on the loop
  mutable std::mutex mutex_;  // guards the rest
  std::vector<Entry> entries_;
  std::size_t unanswered_chunks_ = 0;
  bool send_planned_ = false;
  bool stopped_ = false;
};

}  // namespace infinicache::cache
