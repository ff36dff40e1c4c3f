// When a node that nobody uses is invoked only to keep its instance alive.
//
// WarmUpInterval, one per pool, says how long an instance may be idle; WarmUp, one per node, when
// that node is due. The paper's interval is fixed (1 min: Wang et al., FAST 2020, section 4.2), and
// warm-ups and backups were 85-90 % of its cost, so the adaptive one, the default, is as long as
// the platform allows: it seeks the idle time after which a share `risk` of the instances is found
// reclaimed. It is a weighted up-down staircase (Kaernbach, Perception & Psychophysics 49, 1991):
// an instance found reclaimed divides the interval by kStepDown, one found alive multiplies it by
//
//   kStepUp = kStepDown ^ (risk / (1 - risk)),
//
// and the two balance where reclaimed ones are the share `risk`. Only evidence about the interval
// counts: "alive" after at least about the interval, "reclaimed" after at most about it (a node
// that was idle for an hour and is gone says nothing of a minute).
//
// Pure, O(1); not thread-safe.
#pragma once

#include <chrono>
#include <optional>

#include "base/clock.h"
#include "base/random.h"

namespace infinicache::policy {

class WarmUpInterval {
 public:
  static constexpr double kStepDown = 2;
  // How far an idle age may be from the interval and still speak about it; covers the jitter of
  // WarmUp on one side and a late invocation on the other.
  static constexpr double kSlack = 0.15;

  struct Options {
    bool adaptive = true;
    Duration interval = std::chrono::minutes(1);  // the fixed one, and where adaption begins
    Duration min = std::chrono::seconds(15);
    Duration max = std::chrono::minutes(15);
    double risk = 0.01;  // share of warm-ups that may come too late
  };

  // REQUIRES: 0 < min <= interval <= max; 0 < risk < 0.5.
  explicit WarmUpInterval(Options options);

  // An invocation found the instance alive, or reclaimed, after it was idle for `idle`; 0 or less
  // is no evidence.
  void OnFoundAlive(Duration idle);
  void OnFoundReclaimed(Duration idle);

  // Within [min, max].
  Duration Get() const { return interval_; }

 private:
  void Scale(double factor);

  const Options options_;
  const double step_up_;
  Duration interval_;
};

class WarmUp {
 public:
  // Every interval is shortened by up to this share of it, so that nodes that one request touched
  // together are not warmed up together for ever.
  static constexpr double kJitter = 0.1;

  // The first interval is shortened by any share: nodes made at once are spread over it.
  WarmUp(TimePoint now, Random& random) : restarted_(now), shortened_(random.Unit()) {}

  // A session of any purpose was opened or ended: the timer starts again.
  void OnSession(TimePoint now, Random& random);
  // Whether the instance has anything to lose.
  void set_holds_data(bool holds_data) { holds_data_ = holds_data; }

  // Nothing while the node holds nothing. It moves with the interval, and may have passed.
  std::optional<TimePoint> Next(const WarmUpInterval& interval) const;

 private:
  TimePoint restarted_;
  double shortened_;  // [0, 1), part of the interval
  bool holds_data_ = false;
};

}  // namespace infinicache::policy
