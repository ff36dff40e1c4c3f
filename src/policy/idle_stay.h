// How long an idle session waits for another request, where every millisecond awake is billed as it
// passes (billing quantum 0 or 1 ms).
//
// This is the ski-rental problem: staying costs a per second, leaving costs b once, when the next
// request needs another invocation (its fee, and what the wake latency is worth to the operator).
// Staying for the break-even time b/a and leaving then costs at most twice what an oracle would
// pay, whatever the requests do (Karlin, Manasse, Rudolph, Sleator: Competitive snoopy caching,
// Algorithmica 3, 1988), so that is the answer while little is known. Later the gaps that were seen
// decide: of the waits t <= b/a, the one with the least mean cost over the recent gaps g,
//
//   cost(t) = sum over g <= t of a * g  +  sum over g > t of (a * t + b),
//
// where t = 0 means to leave at once: requests that come rarely are not waited for, and those that
// come in bursts only as long as a burst's gaps. Longer waits than b/a are never tried, which keeps
// the cost of one wrong guess below one invocation.
//
// Gaps are kept in kBuckets buckets that double up to the break-even time, and forgotten
// exponentially (time constant kMemory gaps). Pure, O(kBuckets) per call; not thread-safe.
#pragma once

#include <array>
#include <cstddef>

#include "base/clock.h"

namespace infinicache::policy {

class IdleStay {
 public:
  static constexpr std::size_t kBuckets = 16;
  static constexpr double kMemory = 32;
  // Fewer gaps than these (in weight) do not overrule the break-even time.
  static constexpr double kEvidenceMin = 4;

  // The costs are in one unit of any size, e.g. dollars. A session that costs nothing while idle
  // waits `max`. REQUIRES: none is negative.
  IdleStay(double idle_cost_per_second, double invocation_cost, Duration max);

  // A request came `gap` after the one before was answered, in the same session or a later one.
  void Observe(Duration gap);

  // The wait from the last answer, within [0, break_even()].
  Duration Get() const;

  // b/a, at most `max`.
  Duration break_even() const { return break_even_; }

 private:
  // The upper end of a bucket, as a part of the break-even time.
  static double Edge(std::size_t bucket);

  Duration break_even_;
  // a * break_even() / b: below 1 where `max` cut the break-even time.
  double idle_share_;
  std::array<double, kBuckets> short_{};  // weights of the gaps up to the break-even time
  double long_ = 0;                       // weight of the longer ones
};

}  // namespace infinicache::policy
