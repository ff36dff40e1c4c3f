// When a node's peer is brought up to date.
//
// BackupInterval, one per pool, says how long changes may wait; NodeBackup, one per node, when that
// node is due. The paper's interval is fixed (5 min: Wang et al., FAST 2020, section 4.2). The
// adaptive one is Young's checkpoint interval (A first order approximation to the optimum
// checkpoint interval, CACM 17(9), 1974):
//
//   interval = sqrt(2 * cost * lifetime)
//
// where `cost` is how long a round takes (a fixed part, and what is dirty at the rate of the
// transfer) and `lifetime` how long an instance lives on average before it is reclaimed, from what
// was observed: (prior + time that instances lived) / (1 + reclaimed ones). What is lost with an
// instance has to be repaired, at about the cost at which it would have been backed up; rounds and
// losses then cost the same. A node that is empty is never due, and one that has not changed only
// where peers are kept warm: a peer must not be idle for longer than an instance may be that is
// warmed up. The round finds out that it lives, and brings a new one up to date if it does not. It
// comes before the primary's warm-up, and wakes the primary as well, which then needs none.
//
// Rounds that fail are tried again, after kRetryMin and twice as long each time, up to the
// interval.
//
// Pure, O(1); not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/random.h"

namespace infinicache::policy {

class BackupInterval {
 public:
  struct Options {
    bool adaptive = true;
    Duration interval = std::chrono::minutes(5);  // the fixed one
    Duration min = std::chrono::seconds(30);      // of the adaptive one
    Duration max = std::chrono::minutes(30);
    Duration round_cost = std::chrono::milliseconds(500);  // of a round that moves nothing
    std::uint64_t bytes_per_second = 50'000'000;           // of a round's transfer
    Duration lifetime_prior = std::chrono::hours(1);
  };

  // REQUIRES: 0 < interval; 0 < min <= max; a positive rate and prior.
  explicit BackupInterval(Options options);

  void OnReclaimed() { ++reclaimed_; }
  // Instances have lived for so long since the last call, in sum.
  void OnLived(Duration time) { lived_ += time; }

  Duration MeanLifetime() const;
  // For a node with so many bytes to send.
  Duration For(std::uint64_t dirty_bytes) const;

 private:
  const Options options_;
  std::uint64_t reclaimed_ = 0;
  Duration lived_{0};
};

// What a node would have to tell its peer.
struct Dirt {
  std::uint64_t chunks = 0;   // on the node
  std::uint64_t changes = 0;  // since the last round
  std::uint64_t bytes = 0;    // stored since then
};

class NodeBackup {
 public:
  static constexpr Duration kRetryMin = std::chrono::seconds(2);
  // Every interval is shortened by up to this share of it, the first one by more: nodes that were
  // filled together are not backed up together.
  static constexpr double kJitter = 0.1;
  static constexpr double kFirstJitter = 0.5;
  // A peer is woken within this part of the time that it may be idle: the end is as WarmUp's
  // earliest, the begin still within WarmUpInterval's slack.
  static constexpr double kTouchFrom = 0.85;
  static constexpr double kTouchTo = 0.9;

  NodeBackup(TimePoint now, Random& random)
      : since_(now), ended_(now), shortened_(kFirstJitter * random.Unit()) {}

  // There is nothing to send now: the interval begins with the next change.
  void OnClean(TimePoint now) { since_ = now; }
  // A round that began at `began` ended; the peer is current now, or not.
  void OnRound(bool succeeded, TimePoint began, TimePoint now, Random& random);
  // In a row.
  int failures() const { return failures_; }
  // Nothing while there is nothing to do. It moves with the interval, and may have passed.
  // `keep_warm`: how long a peer may be idle; none: for ever.
  std::optional<TimePoint> Next(const BackupInterval& interval, const Dirt& dirt,
                                std::optional<Duration> keep_warm) const;

 private:
  TimePoint since_;
  TimePoint ended_;                        // the last round
  std::optional<TimePoint> peer_seen_at_;  // none: there is no peer yet
  double shortened_;                       // [0, 1), part of the interval
  int failures_ = 0;                       // in a row
};

}  // namespace infinicache::policy
