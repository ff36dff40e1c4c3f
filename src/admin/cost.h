// What the pool costs: the meter's figures at the prices of the settings.
//
// Dollars are of list prices, since the server's start. Figures are null, or have no sample, where
// they would be a division by 0.
//
// Thread-safety: pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/clock.h"
#include "platform/platform.h"
#include "policy/meter.h"
#include "policy/prices.h"
#include "pool/node_state.h"

namespace infinicache::admin {

struct CostTerms {
  std::string preset = {};
  policy::Price price = {};                       // of nodes
  std::optional<policy::Price> provisioned = {};  // of the same memory elsewhere, by instance hours
  std::optional<policy::Price> storage = {};      // of as many bytes at rest
};

struct CostView {
  const CostTerms& terms;
  policy::CostReport report = {};
  platform::InstanceCounts instances = {};
  std::array<std::uint64_t, pool::kNodeStates> nodes = {};  // by state
  std::optional<Duration> warm_up_interval = {};            // none: nodes are not warmed up
};

// The figures of `meter`, which has counted for `elapsed`. REQUIRES: as policy::Meter::Report.
policy::CostReport ReportCost(const policy::Meter& meter, Duration elapsed, const CostTerms& terms);

std::array<std::uint64_t, pool::kNodeStates> CountByState(std::span<const pool::NodeView> nodes);

// The sums over all causes.
policy::CauseCost TotalOfCauses(const policy::CostReport& report);

// {preset, price: {name, kind, description, source, date, its figures}, hours, dollars,
// dollars_per_hour, standing: {dollars, dollars_per_hour, gb_hours, vcpu_hours},
// causes: {serving, warm_up, backup, repair: {sessions, cold_starts, billed_seconds, gb_seconds,
// vcpu_seconds, dollars, dollars_per_hour}}, sessions, cold_starts, billed_seconds, gb_seconds,
// vcpu_seconds, duty_cycle, requests, dollars_per_million_requests, dollars_per_gb_hour,
// provisioned, storage: {name, date, dollars, dollars_per_hour, ratio}, instances, nodes,
// warm_up_interval_seconds}.
//
// The price's figures are named as in the price file. dollars is the sum over causes and standing;
// standing is 0 unless the price is by instance hours, and then causes cost nothing.
std::string CostJson(const CostView& view);

}  // namespace infinicache::admin
