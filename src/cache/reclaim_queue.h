// What nodes are to be told of chunks without anybody waiting: that they are to be freed, or when
// they expire. Collected from any thread, sent in batches by one event loop.
//
// What comes in within kGatherFor goes out together: under a stream of overwrites a message per
// node and batch instead of one per node and object. A writer that finds no room calls Flush and
// waits until pending() is 0. A chunk whose instance has ended is gone already; one whose link is
// down, or breaks before the node has answered, is tried again.
//
// A node that sleeps is not woken only to free something, or to mark it as deleted: that waits
// until the node is awake for other reasons, for kSleepAtMost, until Flush, or until kSleepingMax
// chunks wait. (Until then its bytes count as used.) Another expiry does wake it, since a rebuilt
// directory goes by it.
//
// Order: of one object, nothing is sent of a version before the nodes have answered what was sent
// of an older one, or have not for kAnswerAtMost. So no older version is left alone on the nodes
// for a rebuilt directory to find. Of one chunk, things are sent in the order in which they came.
//
// Cost: 56 bytes per chunk that waits, never more than there are chunks; two hash lookups per chunk
// sent.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cache/object.h"
#include "net/event_loop.h"
#include "net/timer.h"
#include "pool/pool.h"
#include "wire/inventory.h"

namespace infinicache::cache {

inline constexpr std::size_t kDeleteBatch = wire::kChunkListMax;

class ReclaimQueue final : public ChunkReclaimer, private pool::FrameSink {
 public:
  static constexpr Duration kGatherFor = std::chrono::milliseconds(20);
  // A node that hangs must not hold up what others could free.
  static constexpr Duration kAnswerAtMost = std::chrono::seconds(1);
  static constexpr Duration kSleepAtMost = std::chrono::minutes(1);
  static constexpr std::size_t kSleepingMax = 1024;

  // Sends through `links`, on its loop. REQUIRES: links outlive the queue or Stop is called first.
  explicit ReclaimQueue(pool::LoopLinks& links);

  void Reclaim(pool::Place place, const ChunkId& chunk) override;
  void SetExpiry(pool::Place place, const ChunkId& chunk, WallMillis expires_at) override;
  void Flush() override;
  // Chunks to be freed, that is.
  std::size_t pending() const override;
  // From then on chunks are forgotten instead of freed. On the loop.
  void Stop();

 private:
  struct Entry {
    pool::Place place;
    ChunkId chunk;
    std::optional<WallMillis> expires_at;  // empty: free it
    TimePoint may_sleep_until{};
  };
  using Entries = std::vector<Entry>;

  // By link and request.
  using Unanswered = std::map<std::pair<pool::Link*, std::uint64_t>, Entries>;
  // What was sent of an object, and is not answered.
  struct Sent {
    Version version;
    std::size_t chunks = 0;
    TimePoint wait_until{};  // for the answers
  };

  Target OnData(pool::Link& link, const wire::FrameHeader& header) override;
  void OnFrame(pool::Link& link, const wire::FrameHeader& header) override;
  void OnLinkLost(pool::Link& link, std::uint64_t request) override;

  void Push(Entry entry);
  void Send();
  void OnAwake();
  // Whether what is left of `entries` may wait for its nodes to wake, while `waiting` waits for it.
  bool MayAllSleep(const Entries& entries, const Entries& waiting) const;
  // Takes those that must wait for an older version of their object out of `entries`.
  Entries Defer(Entries& entries);
  void SendTo(pool::Link& link, const Entries& entries);
  void SendBatch(pool::Link& link, std::span<const Entry> batch);
  // Puts entries back, to be tried again somewhat later. On the loop.
  void Requeue(const Entries& entries);
  // Puts entries back until their nodes wake.
  void LetSleep(const Entries& entries);
  void PutBack(const Entries& entries);
  Entries TakeAnswered(pool::Link& link, std::uint64_t request);

  pool::LoopLinks& links_;
  net::Timer timer_;  // on the loop, as what follows
  net::Timer sleep_timer_;
  bool sleeping_ = false;  // something waits for a node to wake
  Unanswered unanswered_;
  boost::unordered_flat_map<ObjectId, Sent, std::hash<ObjectId>> sent_;
  bool deferred_ = false;     // something waits for an answer
  mutable std::mutex mutex_;  // guards the rest
  Entries entries_;
  std::size_t pending_ = 0;
  bool send_planned_ = false;
  bool stopped_ = false;
};

}  // namespace infinicache::cache
