#include "admin/cost.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <chrono>

#include "base/bytes.h"

namespace infinicache::admin {
namespace {

namespace json = boost::json;
using policy::Cause;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr policy::NodeSize kSize{2 * kGiB, 500};
constexpr policy::BillingRule kByHundred{milliseconds(100), milliseconds(100)};

policy::Price Functions() {
  return {"functions", "Functions", "a page", "2026-11-25",
          policy::FunctionPrice{0.2, 0.00002, 0.00003, kByHundred}};
}
policy::Price Machines() {
  return {"machines", "Machines", "a bill", "2026-11-24",
          policy::InstanceHoursPrice{0, 0, 10, 600, 0, true}};
}
policy::Price Storage() {
  return {"storage", "Bytes", "a page", "2026-11-23", policy::StoragePrice{0.73, 1}};
}

json::value Parse(const CostView& view) {
  return json::parse(CostJson(view));
}
double Real(const json::value& value) {
  return value.to_number<double>();
}

TEST(CostJson, ItsDollarsFollowFromItsSumsAndPrices) {
  const CostTerms terms{"preset", Functions(), Machines(), Storage()};
  policy::Meter meter(kByHundred);
  meter.Add({Cause::kServing, milliseconds(130), kSize, true, milliseconds(100)}, 7);
  meter.Add({Cause::kWarmUp, milliseconds(1), kSize, false, Duration(0)}, 1000);
  meter.AddPoolTime(100, kSize, hours(2));
  meter.AddRequests(5000);
  const json::value cost = Parse({.terms = terms,
                                  .report = ReportCost(meter, hours(2), terms),
                                  .instances = {1, 2, 3},
                                  .nodes = {5, 4, 3, 2, 1},
                                  .warm_up_interval = milliseconds(1500)});
  EXPECT_EQ(cost.at("preset"), "preset");
  const json::value& price = cost.at("price");
  EXPECT_EQ(price.at("name"), "functions");
  EXPECT_EQ(price.at("kind"), "function");
  EXPECT_EQ(price.at("source"), "a page");
  EXPECT_EQ(price.at("date"), "2026-11-25");
  EXPECT_EQ(Real(price.at("quantum_ms")), 100);

  double dollars = 0;
  std::uint64_t sessions = 0;
  for (const auto& [name, sums] : cost.at("causes").as_object()) {
    const double expected =
        Real(sums.at("sessions")) * Real(price.at("request_dollars_per_million")) / 1e6 +
        Real(sums.at("gb_seconds")) * Real(price.at("dollars_per_gb_second")) +
        Real(sums.at("vcpu_seconds")) * Real(price.at("dollars_per_vcpu_second"));
    EXPECT_NEAR(Real(sums.at("dollars")), expected, 1e-15) << std::string_view(name);
    EXPECT_NEAR(Real(sums.at("dollars_per_hour")), expected / 2, 1e-15);
    dollars += expected;
    sessions += sums.at("sessions").to_number<std::uint64_t>();
  }
  EXPECT_GT(dollars, 0);
  EXPECT_NEAR(Real(cost.at("dollars")), dollars, 1e-15);
  EXPECT_NEAR(Real(cost.at("dollars_per_hour")), dollars / 2, 1e-15);
  EXPECT_NEAR(Real(cost.at("dollars_per_million_requests")), dollars * 200, 1e-12);
  EXPECT_EQ(cost.at("sessions"), sessions);
  EXPECT_EQ(sessions, 1007U);
  EXPECT_EQ(cost.at("cold_starts"), 7);
  EXPECT_NEAR(Real(cost.at("billed_seconds")), 7 * 0.3 + 1000 * 0.1, 1e-9);
  EXPECT_NEAR(Real(cost.at("gb_seconds")), 2 * 102.1, 1e-9);
  EXPECT_EQ(cost.at("requests"), 5000);
  EXPECT_EQ(Real(cost.at("standing").at("dollars")), 0) << "not billed by the hour";
  EXPECT_DOUBLE_EQ(Real(cost.at("standing").at("gb_hours")), 400);
  EXPECT_NEAR(Real(cost.at("duty_cycle")), (7 * 0.23 + 1) / (100 * 7200), 1e-12);

  const json::value& provisioned = cost.at("provisioned");
  EXPECT_EQ(provisioned.at("name"), "machines");
  EXPECT_DOUBLE_EQ(Real(provisioned.at("dollars")), 20);
  EXPECT_DOUBLE_EQ(Real(provisioned.at("dollars_per_hour")), 10);
  EXPECT_DOUBLE_EQ(Real(provisioned.at("ratio")), 20 / dollars);
  const json::value& storage = cost.at("storage");
  EXPECT_EQ(storage.at("date"), "2026-11-23");
  EXPECT_NEAR(Real(storage.at("dollars")), 400 * 0.001 + 0.005, 1e-12);

  EXPECT_EQ(cost.at("instances"), json::parse(R"({"busy": 1, "idle": 2, "frozen": 3})"));
  EXPECT_EQ(cost.at("nodes"), json::parse(R"({"starting": 5, "active": 4, "down": 3, "asleep": 2,
                                              "waking": 1, "total": 15})"));
  EXPECT_DOUBLE_EQ(Real(cost.at("warm_up_interval_seconds")), 1.5);
}

TEST(CostJson, OfInstanceHoursTheStandingMemoryAndCpuCost) {
  const CostTerms terms{
      "", {"pods", "", "", "", policy::InstanceHoursPrice{0.005, 0.04, 0, 0, 0, false}}, {}, {}};
  policy::Meter meter(terms.price.Billing());
  meter.Add({Cause::kServing, hours(1), kSize, false, Duration(0)});
  meter.AddPoolTime(10, kSize, hours(3));
  const json::value cost = Parse({.terms = terms, .report = ReportCost(meter, hours(3), terms)});
  const json::value& price = cost.at("price");
  const json::value& standing = cost.at("standing");
  EXPECT_NEAR(Real(standing.at("dollars")),
              Real(standing.at("gb_hours")) * Real(price.at("dollars_per_gb_hour")) +
                  Real(standing.at("vcpu_hours")) * Real(price.at("dollars_per_vcpu_hour")),
              1e-12);
  EXPECT_EQ(cost.at("dollars"), standing.at("dollars"));
  EXPECT_EQ(cost.at("dollars_per_hour"), standing.at("dollars_per_hour"));
  EXPECT_EQ(cost.at("sessions"), 1);
  EXPECT_EQ(Real(cost.at("causes").at("serving").at("dollars")), 0);
  EXPECT_EQ(cost.at("provisioned"), nullptr);
  EXPECT_EQ(cost.at("storage"), nullptr);
}

TEST(CostJson, APriceOfMachinesSaysWhatAMachineHolds) {
  const CostTerms terms{"", Machines(), {}, {}};
  const json::value price =
      Parse({.terms = terms, .report = ReportCost(policy::Meter({}), hours(1), terms)}).at("price");
  EXPECT_EQ(Real(price.at("dollars_per_machine_hour")), 10);
  EXPECT_EQ(Real(price.at("machine_gb")), 600);
  EXPECT_EQ(price.at("whole_machines"), true);
  EXPECT_FALSE(price.as_object().contains("dollars_per_gb_hour"));
}

TEST(CostJson, WhatWouldBeADivisionByNothingIsNull) {
  const CostTerms terms{"", Functions(), Machines(), Storage()};
  const json::value cost =
      Parse({.terms = terms, .report = ReportCost(policy::Meter(kByHundred), Duration(0), terms)});
  for (const char* name : {"dollars_per_hour", "dollars_per_million_requests",
                           "dollars_per_gb_hour", "duty_cycle", "warm_up_interval_seconds"})
    EXPECT_TRUE(cost.at(name).is_null()) << name;
  EXPECT_TRUE(cost.at("provisioned").at("ratio").is_null());
  EXPECT_TRUE(cost.at("provisioned").at("dollars_per_hour").is_null());
  EXPECT_TRUE(cost.at("causes").at("serving").at("dollars_per_hour").is_null());
  EXPECT_EQ(Real(cost.at("dollars")), 0);
}

}  // namespace
}  // namespace infinicache::admin
