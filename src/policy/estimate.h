// What a pool would cost: a fixed schedule, run through the meter on a virtual clock.
//
// For questions before anything is deployed. It knows no failures and no adaptive schedules; the
// product's own meter counts what really happens.
//
// Pure. Cost: O(events of the schedule), sessions that start together count as one.
#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "policy/meter.h"
#include "policy/prices.h"

namespace infinicache::policy {

struct Workload {
  std::uint64_t nodes = 0;
  NodeSize size;
  Duration elapsed{0};

  // Every node is invoked each `interval`, the first time at once, for `session`. An interval of 0
  // means never.
  Duration warm_up_interval{0};
  Duration warm_up_session{0};
  Duration backup_interval{0};
  Duration backup_session{0};

  std::uint64_t requests_per_hour = 0;   // at most 10^12
  std::uint64_t chunks_per_request = 0;  // each in a session of its own, as the model has it
  Duration chunk_session{0};
};

// The meter after `workload.elapsed`. A schedule's event at that very moment is no longer in it.
// REQUIRES: 0 <= elapsed, intervals and sessions; at most 10 years each.
Meter MeterOf(const Workload& workload, const BillingRule& billing);

// How many requests per hour make the pool as dear as `provisioned`: with fewer, it is cheaper.
// Absent where requests cost nothing or the pool without any is dearer already. The requests of the
// workload itself are ignored. REQUIRES: as MeterOf and Meter::Report; elapsed > 0.
std::optional<double> BreakEvenRequestsPerHour(const Workload& workload, const Price& price,
                                               const Price& provisioned);

}  // namespace infinicache::policy
