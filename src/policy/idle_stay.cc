#include "policy/idle_stay.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace infinicache::policy {
namespace {

Duration BreakEven(double idle_cost_per_second, double invocation_cost, Duration max) {
  const double max_seconds = std::chrono::duration<double>(max).count();
  // Compared without a division, which also covers a session that costs nothing.
  if (invocation_cost >= idle_cost_per_second * max_seconds) return max;
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(invocation_cost / idle_cost_per_second));
}

double IdleShare(double idle_cost_per_second, double invocation_cost, Duration break_even) {
  if (invocation_cost <= 0) return 0;
  return idle_cost_per_second * std::chrono::duration<double>(break_even).count() / invocation_cost;
}

}  // namespace

IdleStay::IdleStay(double idle_cost_per_second, double invocation_cost, Duration max)
    : break_even_(BreakEven(idle_cost_per_second, invocation_cost, max)),
      idle_share_(IdleShare(idle_cost_per_second, invocation_cost, break_even_)) {
  CHECK(idle_cost_per_second >= 0 && invocation_cost >= 0 && max >= Duration(0));
}

double IdleStay::Edge(std::size_t bucket) {
  return std::ldexp(1.0, static_cast<int>(bucket) - static_cast<int>(kBuckets - 1));
}

void IdleStay::Observe(Duration gap) {
  for (double& weight : short_) weight *= 1 - 1 / kMemory;
  long_ *= 1 - 1 / kMemory;
  if (gap > break_even_) {
    long_ += 1;
    return;
  }
  const double part =
      static_cast<double>(gap.count()) / static_cast<double>(std::max(break_even_.count(), 1L));
  std::size_t bucket = 0;
  while (bucket + 1 < kBuckets && part > Edge(bucket)) ++bucket;
  short_[bucket] += 1;
}

Duration IdleStay::Get() const {
  double later = std::accumulate(short_.begin(), short_.end(), long_);
  if (later < kEvidenceMin) return break_even_;
  double best_cost = later;  // of leaving at once, in invocations
  double best = 0;
  double waited = 0;
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    const double edge = Edge(bucket);
    waited += short_[bucket] * edge * idle_share_;
    later -= short_[bucket];
    const double cost = waited + later * (edge * idle_share_ + 1);
    // At equal cost the longer wait, whose requests find the session awake.
    if (cost <= best_cost) {
      best_cost = cost;
      best = edge;
    }
  }
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double, std::nano>(best * static_cast<double>(break_even_.count())));
}

}  // namespace infinicache::policy
