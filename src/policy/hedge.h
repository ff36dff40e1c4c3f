// When a late answer is raced by another: after how long without progress a reader asks a parity
// chunk.
//
// The estimator is TCP's retransmission timer (RFC 6298, sections 2.2-2.3) on the gaps between
// arrivals while a reader waits: smoothed gap + 4 * its mean deviation, within [kDelayMin,
// kDelayMax]. Slow nodes and slow networks raise it by themselves, a single stopped node does not
// (its gap never ends, so it is never observed).
//
// Pure and cheap; one estimator per event loop, not thread-safe.
#pragma once

#include <algorithm>
#include <chrono>

#include "base/clock.h"

namespace infinicache::policy {

class HedgeDelay {
 public:
  static constexpr Duration kDelayMin = std::chrono::milliseconds(20);
  static constexpr Duration kDelayMax = std::chrono::seconds(1);

  void Observe(Duration gap) {
    if (!seen_) {
      seen_ = true;
      smoothed_ = gap;
      deviation_ = gap / 2;
      return;
    }
    const Duration error = gap > smoothed_ ? gap - smoothed_ : smoothed_ - gap;
    deviation_ = (3 * deviation_ + error) / 4;
    smoothed_ = (7 * smoothed_ + gap) / 8;
  }

  Duration Get() const { return std::clamp(smoothed_ + 4 * deviation_, kDelayMin, kDelayMax); }

 private:
  bool seen_ = false;
  Duration smoothed_{0};
  Duration deviation_{0};
};

}  // namespace infinicache::policy
