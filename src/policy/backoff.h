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
  Backoff(Duration initial, Duration max) : initial_(initial), max_(max) {}

  // The wait after one more failure.
  Duration Next(Random& random) {
    const Duration full = std::min(max_, initial_ * (std::int64_t{1} << std::min(failures_, 30)));
    ++failures_;
    return full / 2 + Duration(random.Below(static_cast<std::uint64_t>(full.count() / 2) + 1));
  }
  void Reset() { failures_ = 0; }
  int failures() const { return failures_; }

 private:
  Duration initial_;
  Duration max_;
  int failures_ = 0;
};

}  // namespace infinicache::policy
