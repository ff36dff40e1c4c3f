// How long an answer may be under way, as far as seen: the margin that a decision about a remote
// clock leaves.
//
// It is estimated from the round trips that were seen (SmoothedDelay), within [min, max]. Before
// the first observation it is `initial`. An answer that was waited for in vain doubles it until the
// next one is seen, as TCP backs its timer off (RFC 6298, section 5.5).
//
// Pure, O(1); not thread-safe.
#pragma once

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "policy/smoothed_delay.h"

namespace infinicache::policy {

class RoundTrip {
 public:
  struct Options {
    // What the original waited for every PONG (InfiniCache, lambdastore/instance.go).
    Duration initial = std::chrono::milliseconds(20);
    Duration min = std::chrono::milliseconds(1);
    Duration max = std::chrono::seconds(1);
  };

  RoundTrip() : RoundTrip(Options{}) {}
  // REQUIRES: 0 <= min <= max.
  explicit RoundTrip(Options options) : options_(options) {}

  void Observe(Duration round_trip) {
    delay_.Observe(std::clamp(round_trip, Duration(0), options_.max));
    missed_ = 1;
  }
  // The margin was waited for in vain.
  void OnMissed() {
    if (Margin() < options_.max) missed_ *= 2;
  }

  // Within [min, max].
  Duration Margin() const {
    const Duration seen = delay_.seen() ? delay_.Get() : options_.initial;
    return std::clamp(std::max(seen, options_.min) * missed_, options_.min, options_.max);
  }

 private:
  Options options_;
  SmoothedDelay delay_;
  int missed_ = 1;  // factor
};

}  // namespace infinicache::policy
