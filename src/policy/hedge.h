// When a late answer is raced by another: after how long without progress a reader asks a parity
// chunk.
//
// It is estimated from the gaps between arrivals while a reader waits (SmoothedDelay), within
// [kDelayMin, kDelayMax]. Slow nodes and slow networks raise it by themselves, a single stopped
// node does not (its gap never ends, so it is never observed).
//
// Pure and cheap; one estimator per event loop, not thread-safe.
#pragma once

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "policy/smoothed_delay.h"

namespace infinicache::policy {

class HedgeDelay {
 public:
  static constexpr Duration kDelayMin = std::chrono::milliseconds(20);
  static constexpr Duration kDelayMax = std::chrono::seconds(1);

  void Observe(Duration gap) { delay_.Observe(gap); }

  Duration Get() const { return std::clamp(delay_.Get(), kDelayMin, kDelayMax); }

 private:
  SmoothedDelay delay_;
};

}  // namespace infinicache::policy
