#include "policy/estimate.h"

#include <gtest/gtest.h>

#include <chrono>

#include "base/bytes.h"

namespace infinicache::policy {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;

const Price k2019{"2019", "", "", "",
                  FunctionPrice{0.20, 0.0000166667, 0, {milliseconds(100), Duration(0)}}};
const Price kToday{"today", "", "", "",
                   FunctionPrice{0.20, 0.0000166667, 0, {milliseconds(1), Duration(0)}}};
const Price kElastiCache{"elasticache", "", "", "",
                         InstanceHoursPrice{0, 0, 10.368, 635.61, 0, true}};

// The pool of the paper: 400 nodes of 1.5 GB for 50 hours, each warmed every minute.
Workload Paper() {
  Workload workload;
  workload.nodes = 400;
  workload.size = {kGiB * 3 / 2, 0};
  workload.elapsed = hours(50);
  workload.warm_up_interval = minutes(1);
  workload.warm_up_session = milliseconds(3);
  workload.chunks_per_request = 12;
  workload.chunk_session = milliseconds(100);
  return workload;
}

CostReport ReportOf(const Workload& workload, const Price& price) {
  return MeterOf(workload, price.Billing()).Report(price, workload.elapsed, &kElastiCache, nullptr);
}

TEST(Estimate, WarmingThePapersPoolFor50HoursCostsWhatItCostIn2019) {
  const CostReport report = ReportOf(Paper(), k2019);
  EXPECT_EQ(report.of(Cause::kWarmUp).sessions, 1'200'000U);
  EXPECT_NEAR(report.dollars, 3.24, 0.0001);
  EXPECT_NEAR(report.dollars_per_hour, 0.0648, 0.00001);
  EXPECT_DOUBLE_EQ(report.provisioned->dollars, 518.40);
  EXPECT_NEAR(*report.provisioned->ratio, 160, 0.1);
}

TEST(Estimate, WarmingThePapersPoolCostsATenthSinceBillingIsByTheMillisecond) {
  EXPECT_NEAR(ReportOf(Paper(), kToday).dollars_per_hour, 0.0066, 0.00001);
}

TEST(Estimate, BreaksEvenWithElastiCacheWhereTheModelOfThePaperDoes) {
  Workload workload = Paper();
  EXPECT_NEAR(*BreakEvenRequestsPerHour(workload, k2019, kElastiCache), 318'000, 100);
  workload.backup_interval = minutes(5);
  workload.backup_session = milliseconds(1840);
  EXPECT_NEAR(*BreakEvenRequestsPerHour(workload, k2019, kElastiCache), 310'900, 100);
}

TEST(Estimate, CostsAsMuchAsElastiCacheAtTheBreakEven) {
  Workload workload = Paper();
  workload.requests_per_hour = 317'999;
  const CostReport report = ReportOf(workload, k2019);
  EXPECT_EQ(report.requests, 317'999U * 50);
  EXPECT_NEAR(*report.provisioned->ratio, 1, 0.0001);
}

TEST(Estimate, CountsEventsBeforeTheEndOnly) {
  Workload workload = Paper();
  workload.elapsed = minutes(5);
  workload.backup_interval = minutes(5);
  const Meter meter = MeterOf(workload, {});
  EXPECT_EQ(meter.sums(Cause::kWarmUp).sessions, 400U * 5);
  EXPECT_EQ(meter.sums(Cause::kBackup).sessions, 400U);
}

TEST(Estimate, HasNoBreakEvenWhereRequestsAreFreeOrThePoolIsDearerIdle) {
  Workload workload = Paper();
  workload.chunks_per_request = 0;
  EXPECT_FALSE(BreakEvenRequestsPerHour(workload, k2019, kElastiCache));
  workload = Paper();
  workload.warm_up_session = minutes(1);
  EXPECT_FALSE(BreakEvenRequestsPerHour(workload, k2019, kElastiCache));
}

}  // namespace
}  // namespace infinicache::policy
