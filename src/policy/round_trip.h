// How long an answer may be under way, as far as seen: the margin that a decision about a remote
// clock leaves.
//
// The estimator is TCP's retransmission timer (RFC 6298, sections 2.2-2.3): smoothed round trip
// + 4 * its mean deviation, within [min, max]. Before the first observation it is `initial`.
//
// Pure, O(1); not thread-safe.
#pragma once

#include <algorithm>
#include <chrono>

#include "base/clock.h"

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
    round_trip = std::clamp(round_trip, Duration(0), options_.max);
    if (!seen_) {
      seen_ = true;
      smoothed_ = round_trip;
      deviation_ = round_trip / 2;
      return;
    }
    const Duration error = round_trip > smoothed_ ? round_trip - smoothed_ : smoothed_ - round_trip;
    deviation_ = (3 * deviation_ + error) / 4;
    smoothed_ = (7 * smoothed_ + round_trip) / 8;
  }

  // Within [min, max].
  Duration Margin() const {
    return std::clamp(seen_ ? smoothed_ + 4 * deviation_ : options_.initial, options_.min,
                      options_.max);
  }

 private:
  Options options_;
  bool seen_ = false;
  Duration smoothed_{0};
  Duration deviation_{0};
};

}  // namespace infinicache::policy
