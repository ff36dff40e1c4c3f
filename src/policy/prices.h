// What platforms and their rivals charge, as data: a table of named prices, each with where it was
// read and when. The table comes from a file (app/price_file.h); no price is in the code.
//
// All money is US dollars. A GB is 2^30 bytes here, as Lambda, Cloud Run, ElastiCache and S3 count
// memory and storage. Pure values; safe to read from any thread.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"

namespace infinicache::policy {

// Hours of a month as providers bill storage: 365 * 24 / 12.
inline constexpr double kHoursPerMonth = 730;

// How a session's duration becomes billed time.
struct BillingRule {
  Duration quantum{1};  // durations are rounded up to a multiple of it; > 0
  Duration minimum{0};  // no session is billed for less, which is rounded too; >= 0

  friend bool operator==(const BillingRule&, const BillingRule&) = default;
};

// The time that a session of `duration` is billed for. Nothing is free: a duration of 0 is billed
// as one quantum. REQUIRES: 0 <= duration, at most 10 years.
Duration BilledDuration(Duration duration, const BillingRule& rule);

// Pay per session: a fee for each, and memory and CPU for its billed time.
struct FunctionPrice {
  double request_dollars_per_million = 0;
  double dollars_per_gb_second = 0;
  double dollars_per_vcpu_second = 0;  // 0 where CPU comes with the memory (Lambda)
  BillingRule billing;
};

// Pay for what stands, used or not: by requested memory and CPU, or by machines. Exactly one of the
// two is given, the other is 0.
struct InstanceHoursPrice {
  double dollars_per_gb_hour = 0;
  double dollars_per_vcpu_hour = 0;

  double dollars_per_machine_hour = 0;
  double machine_gb = 0;
  double machine_vcpus = 0;  // 0: memory alone decides
  bool whole_machines =
      false;  // rented for this alone; else a share of machines used by others too
};

// Pay for bytes at rest and for each read.
struct StoragePrice {
  double dollars_per_gb_month = 0;
  double read_dollars_per_million = 0;
};

struct Price {
  std::string name;  // unique in its table
  std::string description;
  std::string source;  // URL or document
  std::string date;    // when the source was read, or until when it held: YYYY-MM-DD
  std::variant<FunctionPrice, InstanceHoursPrice, StoragePrice> terms;

  // "function", "instance_hours" or "storage", as in the file.
  std::string_view Kind() const;
  // nullptr if the price is of another kind.
  const FunctionPrice* function() const { return std::get_if<FunctionPrice>(&terms); }
  const InstanceHoursPrice* instance_hours() const {
    return std::get_if<InstanceHoursPrice>(&terms);
  }
  const StoragePrice* storage() const { return std::get_if<StoragePrice>(&terms); }

  // How it bills sessions: to the nanosecond where it does not bill them.
  BillingRule Billing() const;
};

// Memory and CPU that stood for a while, as products with time.
struct StandingHours {
  double gb_hours = 0;
  double vcpu_hours = 0;
  double hours = 0;  // the while
};

// What `standing` costs. A share of a machine is that of its scarcer resource, memory or CPU: the
// rest of it is of no use to others. Whole machines are as many as hold the average.
double StandingDollars(const InstanceHoursPrice& price, const StandingHours& standing);

struct PriceTable {
  std::vector<Price> prices;  // in the file's order

  // nullptr if there is none of that name. O(prices).
  const Price* Find(std::string_view name) const;
};

}  // namespace infinicache::policy
