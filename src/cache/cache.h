// The object cache of one proxy: directory, workers, repair, expiry.
//
// Thread-safety: construction, Start and Stop on the control loop; the accessors from any thread; a
// Worker on its loop.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cache/reclaim_queue.h"
#include "cache/repair_queue.h"
#include "cache/repairer.h"
#include "cache/worker.h"
#include "net/event_loop.h"
#include "net/timer.h"
#include "pool/pool.h"

namespace infinicache::cache {

// A row of /api/v1/objects/{key}.
struct ObjectView {
  struct Chunk {
    std::size_t index = 0;
    bool parity = false;
    NodeId node;
    bool alive = false;  // the instance that held it still lives
    std::uint64_t bytes = 0;
  };
  std::string key;
  std::uint64_t bytes = 0;
  Version version;
  coding::Code code;
  std::uint32_t strip_bytes = 0;
  WallMillis expires_at = 0;
  std::vector<Chunk> chunks;
};

// The directory's objects by what they can still lose.
struct Risk {
  struct Class {
    std::uint64_t objects = 0;
    std::uint64_t bytes = 0;
  };
  Class lost;  // fewer than d chunks survive; not noticed by repair yet
  std::array<Class, kCodeWidthMax + 1>
      by_spare{};                // index: chunks that may be lost before the object is
  std::uint64_t incomplete = 0;  // objects that lack any chunk
};

class Cache {
 public:
  // REQUIRES: all arguments outlive the cache; `loops` are the data loops, at least one.
  Cache(net::EventLoop& control, pool::Pool& pool, const Clock& clock, CacheOptions options,
        std::span<net::EventLoop* const> loops);
  ~Cache();

  void Start();
  // Ends background work. The loops still run.
  void Stop();

  Worker& worker(std::size_t index) { return *workers_[index]; }
  std::size_t workers() const { return workers_.size(); }
  CacheShared& shared() { return shared_; }
  Directory& directory() { return shared_.directory; }
  const CacheStats& stats() const { return shared_.stats; }
  const CacheOptions& options() const { return shared_.options; }
  std::size_t repairs_queued() const { return shared_.repairs->size(); }
  // Chunk bytes that the queued objects lack, and how many are re-created per second of late. The
  // latter on the control loop.
  std::uint64_t repair_bytes_queued() const { return shared_.repairs->bytes(); }
  double repair_bytes_per_second() const { return repair_rate_.per_second(); }

  // The longest time from a loss of instances until all was repaired; nothing if that never
  // happened. To a tenth of a second. On the control loop.
  std::optional<Duration> longest_repair() const { return longest_repair_; }

  // Rebuilds the directory from what these instances hold, which are known to the pool by now;
  // their links may still be dialling. Call before clients are served. Returns when versions of
  // writes are above all that the nodes have: then clients may be served, while the rest goes on in
  // the background (shared().rebuild). On the control loop.
  net::Task<> Adopt(std::vector<pool::Place> instances);

  // Looks at every object: on the control loop, in portions; about 1 µs for each.
  net::Task<Risk> SurveyRisk();

  // Where the object's chunks lie; nothing if there is no such object.
  std::optional<ObjectView> Describe(std::string_view key);

 private:
  net::Task<> Rebuild(std::vector<pool::Place> instances);
  void OnInstanceLost(NodeId node, pool::Epoch epoch, InstanceId instance);
  // A copy of the node's former instance goes on.
  void OnFailover(NodeId node, pool::Epoch epoch);
  net::Task<> FailOver(Worker& worker, pool::Place taken);
  void EndFailover(pool::Place taken, std::uint64_t kept, std::uint64_t listed);
  // Queues for repair what has a chunk on the node that is not there any more.
  void RepairLostOn(NodeId node);
  // Logs what has left since the last call as events; every kTellEvery.
  void TellGone();
  void TellLoss(const GoneLog::Loss& loss);
  InstanceId InstanceAt(pool::Place place) const;
  bool IsAlive(pool::Place place) const;
  RepairNeed Survey(const ObjectRecord& object) const;
  void WatchRepair();
  void SweepExpired();

  net::EventLoop& control_;
  pool::Pool& pool_;
  CacheShared shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::unique_ptr<Repairer>> repairers_;
  std::shared_ptr<ReclaimQueue> reclaim_queue_;
  std::atomic<std::size_t> next_repairer_{0};
  net::Timer sweep_;
  bool stopping_ = false;
  std::uint64_t sweep_cursor_ = 0;
  policy::RateEstimate repair_rate_;
  std::optional<TimePoint> repairing_since_;
  std::uint64_t repair_bytes_seen_ = 0;
  std::optional<Duration> longest_repair_;
  TimePoint told_at_{};
  std::deque<std::pair<pool::Place, InstanceId>> ended_;  // the last kEndedMax instances that ended
};

}  // namespace infinicache::cache
