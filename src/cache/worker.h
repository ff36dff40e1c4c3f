// The cache's share of one event loop: its links, buffers, budget and estimators.
//
// A client connection belongs to one worker; everything its requests touch on the data path is here
// and is used on this loop only. What the loops share (directory, statistics, repair queue) is in
// CacheShared and is safe from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/buffer_pool.h"
#include "base/random.h"
#include "cache/directory.h"
#include "cache/evictor.h"
#include "cache/memory_budget.h"
#include "cache/rebuild_progress.h"
#include "cache/repair_queue.h"
#include "cache/stats.h"
#include "coding/codec.h"
#include "net/pipe.h"
#include "policy/eviction.h"
#include "policy/hedge.h"
#include "policy/placement.h"
#include "pool/pool.h"

namespace infinicache::cache {

struct CacheOptions {
  coding::Code code;
  std::uint64_t object_bytes_max = 2 * kGiB;
  std::size_t budget_bytes_per_loop = 256 * kMiB;
  // Chunks beyond d that must be stored for a write to succeed; the rest is repaired.
  std::size_t parity_min = 1;
  bool repair = true;
  std::size_t repair_concurrency = 0;                // objects at once; 0: one per loop
  std::uint64_t repair_bytes_per_second = 0;         // of all loops; 0: no limit
  Duration node_timeout = std::chrono::seconds(30);  // of one node's answer, at most
  policy::EvictionPolicy eviction = policy::EvictionPolicy::kS3Fifo;
};

struct CacheShared {
  CacheShared(const Clock& clock_source, CacheOptions cache_options)
      : clock(clock_source),
        options(cache_options),
        evictor(cache_options.eviction),
        gone(stats.gone),
        directory(clock_source, evictor, gone) {}

  const Clock& clock;
  const CacheOptions options;
  Evictor evictor;
  CacheStats stats;
  GoneLog gone;
  Directory directory;
  std::atomic<std::uint64_t> last_version{0};
  std::shared_ptr<ChunkReclaimer> reclaimer;
  std::unique_ptr<RepairQueue> repairs;
  RebuildProgress rebuild;

  Version NextVersion() {
    return Version(last_version.fetch_add(1, std::memory_order_relaxed) + 1);
  }
};

class Worker {
 public:
  Worker(CacheShared& shared, net::EventLoop& loop, pool::LoopLinks& links, std::uint64_t seed)
      : shared_(shared),
        loop_(loop),
        links_(links),
        random_(seed),
        budget_(loop, shared.options.budget_bytes_per_loop) {}

  CacheShared& shared() { return shared_; }
  CacheStats& stats() { return shared_.stats; }
  const CacheOptions& options() const { return shared_.options; }
  net::EventLoop& loop() { return loop_; }
  pool::LoopLinks& links() { return links_; }
  BufferPool& buffers() { return buffers_; }
  MemoryBudget& budget() { return budget_; }
  Random& random() { return random_; }
  policy::HedgeDelay& hedge_delay() { return hedge_delay_; }

  // A pipe for splicing, and its way back (empty) for the next request.
  Result<net::Pipe> TakePipe();
  void ReturnPipe(net::Pipe pipe);

  const coding::Codec& CodecFor(coding::Code code);

  // Makes requests that wait for nodes end soon. On the loop.
  void Stop() { stopping_ = true; }
  bool stopping() const { return stopping_; }

  // Whether KeepRoom (cache/room_claim.h) is at work.
  bool keeping_room() const { return keeping_room_; }
  void set_keeping_room(bool keeping) { keeping_room_ = keeping; }

  // The link through which `place` can be read now, or null.
  pool::Link* LinkTo(pool::Place place);

  // The place that the chunk has on the link's node: what to clear if it is not there.
  pool::Place PlaceOn(const ObjectRecord& object, std::size_t chunk, pool::Link& link);

  // Whether every chunk of the object is where a living instance holds it.
  bool IsWhole(const ObjectRecord& object);

  // Directory::Commit, with another expiry than the nodes were told before if one is given; they
  // are told soon. What was stored with fewer chunks than d+p, or lost some since, is queued for
  // repair: what is not in the directory yet is not found when an instance ends.
  Directory::CommitResult Commit(ObjectRef object, Directory::Condition condition, bool keep_expiry,
                                 std::optional<WallMillis> expires_at = std::nullopt);
  // Directory::SetExpiry, and the nodes are told soon.
  bool SetExpiry(const ObjectRef& object, WallMillis when);

  // Removes an object of which fewer than d chunks survive, and counts it by its cause. False if it
  // is not its key's value any more.
  bool Lose(const ObjectRef& object);

  // Whether what was stored there is still there, as far as the pool knows.
  bool Survives(pool::Place place) {
    return !place.IsNowhere() && links_.at(place.node).shared().Holds(place.epoch);
  }

  // For how long a reader waits for a node that is being woken before it asks another.
  Duration WakePatience() const;

  // Whether chunks can be put on the link's node now.
  static bool IsUsable(pool::Link& link);

  // Distinct nodes with room for `chunk_bytes`, none of them in `excluded`. Fewer than `count` if
  // there are no more.
  std::vector<NodeId> ChooseNodes(std::size_t count, std::uint64_t chunk_bytes,
                                  std::span<const NodeId> excluded);
  // Of the nodes that hold a chunk of `object`, up to `count` with room for `chunk_bytes`.
  std::vector<NodeId> ChooseHolders(const ObjectRecord& object, std::size_t count,
                                    std::uint64_t chunk_bytes);
  // Distinct usable nodes that could hold `chunk_bytes` if they were emptied, none of them in
  // `excluded`: those with most room first.
  std::vector<NodeId> ChooseFullNodes(std::size_t count, std::uint64_t chunk_bytes,
                                      std::span<const NodeId> excluded);

 private:
  static policy::NodeForPlacement ForPlacement(pool::Link& link, std::uint64_t bytes_wanted);
  std::vector<policy::NodeForPlacement> NodesForPlacement(std::uint64_t bytes_wanted,
                                                          std::span<const NodeId> excluded);
  std::vector<std::uint32_t> HostsOf(std::span<const NodeId> nodes);

  CacheShared& shared_;
  net::EventLoop& loop_;
  pool::LoopLinks& links_;
  Random random_;
  bool stopping_ = false;
  bool keeping_room_ = false;
  BufferPool buffers_;
  MemoryBudget budget_;
  policy::HedgeDelay hedge_delay_;
  std::vector<net::Pipe> pipes_;
  std::unordered_map<std::uint16_t, std::shared_ptr<const coding::Codec>> codecs_;
};

}  // namespace infinicache::cache
