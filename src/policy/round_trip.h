// How long an answer may be under way, as far as seen: the margin that a decision about a remote
// clock leaves.
//
// It is estimated from the round trips that were seen (SmoothedDelay), within [min, max]. Before
// the first observation it is `initial`.
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
  }

  // Within [min, max].
  Duration Margin() const {
    return std::clamp(delay_.seen() ? delay_.Get() : options_.initial, options_.min, options_.max);
  }

 private:
  Options options_;
  SmoothedDelay delay_;
};

}  // namespace infinicache::policy
