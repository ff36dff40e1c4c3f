#include "policy/prices.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "base/check.h"

namespace infinicache::policy {
namespace {

constexpr Duration kDurationMax = std::chrono::hours(10 * 366 * 24);

}  // namespace

Duration BilledDuration(Duration duration, const BillingRule& rule) {
  CHECK(duration.count() >= 0 && duration <= kDurationMax, "{} ns", duration.count());
  CHECK(rule.quantum.count() > 0 && rule.quantum <= kDurationMax);
  CHECK(rule.minimum.count() >= 0 && rule.minimum <= kDurationMax);
  const Duration charged = std::max({duration, rule.minimum, Duration(1)});
  return (charged + rule.quantum - Duration(1)) / rule.quantum * rule.quantum;
}

std::string_view Price::Kind() const {
  static constexpr std::array<std::string_view, 3> kKinds = {"function", "instance_hours",
                                                             "storage"};
  return kKinds.at(terms.index());
}

BillingRule Price::Billing() const {
  const FunctionPrice* price = function();
  return price == nullptr ? BillingRule{} : price->billing;
}

double StandingDollars(const InstanceHoursPrice& price, const StandingHours& standing) {
  if (price.dollars_per_machine_hour == 0) {
    return standing.gb_hours * price.dollars_per_gb_hour +
           standing.vcpu_hours * price.dollars_per_vcpu_hour;
  }
  CHECK(price.machine_gb > 0);
  double machine_hours = standing.gb_hours / price.machine_gb;
  if (price.machine_vcpus > 0) {
    machine_hours = std::max(machine_hours, standing.vcpu_hours / price.machine_vcpus);
  }
  if (price.whole_machines && standing.hours > 0) {
    // Within rounding of the division: a pool that just fits a machine needs no second one.
    constexpr double kRounding = 1e-9;
    machine_hours = std::ceil(machine_hours / standing.hours - kRounding) * standing.hours;
  }
  return machine_hours * price.dollars_per_machine_hour;
}

const Price* PriceTable::Find(std::string_view name) const {
  const auto found = std::ranges::find(prices, name, &Price::name);
  return found == prices.end() ? nullptr : &*found;
}

}  // namespace infinicache::policy
