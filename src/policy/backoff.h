// Bounded exponential back-off with jitter: when to try again after failures.
//
// Pure: random source given, no clock. The n-th consecutive failure waits initial * 2^(n-1), at
// most `max`, of which a random half is jitter, so that many retriers do not meet ("equal jitter",
// M. Brooker, AWS Architecture Blog, 2015).
#pragma once

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "base/random.h"

namespace infinicache::policy {

class Backoff {
 public:
  // REQUIRES: 0 < initial.
  Backoff(Duration initial, Duration max)
      : initial_(std::min(initial, max)), max_(max), full_(initial_) {}

  // The wait after one more failure.
  Duration Next(Random& random) {
    const Duration full = full_;
    // Doubling stops short of what would overflow.
    full_ = full_ > max_ / 2 ? max_ : 2 * full_;
    ++failures_;
    return full / 2 + Duration(random.Below(static_cast<std::uint64_t>(full.count() / 2) + 1));
  }
  void Reset() {
    failures_ = 0;
    full_ = initial_;
  }
  int failures() const { return failures_; }

 private:
  Duration initial_;
  Duration max_;
  Duration full_;  // the next wait, before jitter
  int failures_ = 0;
};

}  // namespace infinicache::policy
