// The estimator of TCP's retransmission timer (RFC 6298, sections 2.2-2.3): smoothed delay + 4 *
// its mean deviation, with gains of 1/8 and 1/4.
//
// Pure, O(1); not thread-safe.
#pragma once

#include "base/clock.h"

namespace infinicache::policy {

class SmoothedDelay {
 public:
  void Observe(Duration delay) {
    if (!seen_) {
      seen_ = true;
      smoothed_ = delay;
      deviation_ = delay / 2;
      return;
    }
    const Duration error = delay > smoothed_ ? delay - smoothed_ : smoothed_ - delay;
    deviation_ = (3 * deviation_ + error) / 4;
    smoothed_ = (7 * smoothed_ + delay) / 8;
  }

  // Whether anything was observed.
  bool seen() const { return seen_; }
  // 0 before.
  Duration Get() const { return smoothed_ + 4 * deviation_; }

 private:
  bool seen_ = false;
  Duration smoothed_{0};
  Duration deviation_{0};
};

}  // namespace infinicache::policy
