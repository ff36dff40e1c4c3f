#include "policy/meter.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <chrono>
#include <cstdint>
#include <vector>

#include "base/bytes.h"

namespace infinicache::policy {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

constexpr BillingRule kByHundred{milliseconds(100), milliseconds(100)};

Price Lambda(BillingRule billing) {
  return {"lambda", "", "", "", FunctionPrice{0.20, 0.0000166667, 0, billing}};
}

std::vector<Session> AnySessions() {
  std::vector<Session> sessions(*rc::gen::inRange<std::size_t>(0, 30));
  for (Session& session : sessions) {
    session.cause = kCauses.at(*rc::gen::inRange<std::size_t>(0, kCauseCount));
    session.duration = Duration(*rc::gen::inRange<std::int64_t>(0, 10'000'000'000));
    session.size = {*rc::gen::inRange<std::uint64_t>(0, 10 * kGiB),
                    *rc::gen::inRange<std::uint32_t>(0, 8000)};
    session.cold = *rc::gen::arbitrary<bool>();
    if (session.cold) session.init = Duration(*rc::gen::inRange<std::int64_t>(0, 1'000'000'000));
  }
  return sessions;
}

RC_GTEST_PROP(MeterProperty, CausesSumToTheTotalAndMergingEqualsMeteringAllEvents, ()) {
  Meter all(kByHundred);
  Meter parts[2] = {Meter(kByHundred), Meter(kByHundred)};
  for (const Session& session : AnySessions()) {
    Meter& part = parts[*rc::gen::inRange<int>(0, 2)];
    for (Meter* meter : {&all, &part}) {
      meter->Add(session);
      meter->AddPoolTime(3, session.size, session.duration, session.duration * 2);
      meter->AddRequests(2);
    }
  }
  parts[0].Merge(parts[1]);
  RC_ASSERT(parts[0] == all);

  const CostReport report = all.Report(Lambda(kByHundred), hours(1), nullptr, nullptr);
  double dollars = 0;
  SessionSums sums;
  for (const Cause cause : kCauses) {
    dollars += report.of(cause).dollars;
    sums.Add(all.sums(cause));
  }
  RC_ASSERT(report.dollars == dollars);
  RC_ASSERT(sums == all.Total());
}

RC_GTEST_PROP(MeterProperty, EveryEventRaisesTheCostAndNoneLowersASum, ()) {
  Meter meter(kByHundred);
  double before = 0;
  for (const Session& session : AnySessions()) {
    const SessionSums sums = meter.Total();
    meter.Add(session);
    RC_ASSERT(meter.Total().billed_ns >= sums.billed_ns + 100'000'000);
    RC_ASSERT(meter.Total().billed_byte_ns >= sums.billed_byte_ns);
    const double after = meter.Report(Lambda(kByHundred), hours(1), nullptr, nullptr).dollars;
    RC_ASSERT(after > before);
    before = after;
  }
}

TEST(Meter, CountsAsOneWhatIsAlike) {
  const Session session{Cause::kBackup, milliseconds(150), {kGiB, 500}, true, milliseconds(60)};
  Meter one_by_one(kByHundred);
  for (int i = 0; i < 7; ++i) one_by_one.Add(session);
  Meter at_once(kByHundred);
  at_once.Add(session, 7);
  EXPECT_EQ(one_by_one, at_once);
}

TEST(Meter, BillsTheStartOfAnInstanceWithItsSession) {
  Meter meter({milliseconds(1), milliseconds(1)});
  // A function's log: init 18.45 ms, duration 1.44 ms, billed 20 ms.
  meter.Add({Cause::kServing,
             std::chrono::microseconds(1440),
             {kGiB / 2, 0},
             true,
             std::chrono::microseconds(18450)});
  EXPECT_TRUE(meter.Total().billed_ns == 20'000'000);
  EXPECT_EQ(meter.Total().cold_starts, 1U);
}

TEST(Meter, HoldsTheLargestPoolForTenYearsExactly) {
  constexpr std::uint64_t kNodes = 4096;
  const Duration years = hours(24 * 365 * 10);
  const NodeSize size{16 * 1024 * kGiB, 1'000'000};
  Meter meter(BillingRule{});
  meter.Add({Cause::kServing, years, size, false, Duration(0)}, kNodes);
  meter.AddPoolTime(kNodes, size, years);
  meter.Merge(meter);
  const SessionSums total = meter.Total();
  EXPECT_TRUE(total.billed_byte_ns / size.memory_bytes / kNodes / 2 ==
              static_cast<SessionSums::Wide>(years.count()));
  EXPECT_DOUBLE_EQ(*meter.Report(Lambda({}), years, nullptr, nullptr).duty_cycle, 1.0);
}

TEST(Meter, ReportsRatesPerGbHourAndMillionRequestsAndTheDutyCycle) {
  Meter meter(kByHundred);
  meter.AddPoolTime(10, {kGiB, 0}, hours(2));
  meter.Add({Cause::kServing, std::chrono::seconds(36), {kGiB, 0}, false, Duration(0)}, 200);
  meter.AddRequests(1000);
  const CostReport report = meter.Report(Lambda(kByHundred), hours(2), nullptr, nullptr);
  EXPECT_DOUBLE_EQ(*report.duty_cycle, 0.1);
  EXPECT_NEAR(report.dollars, 200 * 0.2e-6 + 7200 * 0.0000166667, 1e-12);
  EXPECT_DOUBLE_EQ(report.dollars_per_hour, report.dollars / 2);
  EXPECT_DOUBLE_EQ(*report.dollars_per_gb_hour, report.dollars / 20);
  EXPECT_DOUBLE_EQ(*report.dollars_per_million_requests, report.dollars * 1000);
}

TEST(Meter, LeavesOutWhatWouldBeADivisionByNothing) {
  const CostReport report = Meter({}).Report(Lambda({}), Duration(0), nullptr, nullptr);
  EXPECT_EQ(report.dollars_per_hour, 0);
  EXPECT_FALSE(report.duty_cycle || report.dollars_per_gb_hour ||
               report.dollars_per_million_requests);
}

TEST(Meter, BillsStandingPodsByWhatTheyRequestWhetherAwakeOrNot) {
  const Price pods{"pods", "", "", "", InstanceHoursPrice{0.0049, 0.0445, 0, 0, 0, false}};
  Meter meter(pods.Billing());
  meter.AddPoolTime(10, {2 * kGiB, 500}, hours(3));
  meter.Add({Cause::kServing, hours(1), {2 * kGiB, 500}, false, Duration(0)});
  const CostReport report = meter.Report(pods, hours(3), nullptr, nullptr);
  EXPECT_NEAR(report.standing_dollars, 60 * 0.0049 + 15 * 0.0445, 1e-12);
  EXPECT_EQ(report.dollars, report.standing_dollars);
  EXPECT_DOUBLE_EQ(report.cache_gb_hours, 60);
  EXPECT_DOUBLE_EQ(report.cache_vcpu_hours, 15);
  EXPECT_DOUBLE_EQ(report.of(Cause::kServing).vcpu_seconds, 1800);
}

TEST(Meter, APodThatIsGoneReservesNothing) {
  const Price pods{"pods", "", "", "", InstanceHoursPrice{0.0049, 0.0445, 0, 0, 0, false}};
  Meter meter(pods.Billing());
  meter.AddPoolTime(10, {2 * kGiB, 500}, hours(3), hours(6));
  const CostReport report = meter.Report(pods, hours(3), &pods, nullptr);
  EXPECT_NEAR(report.standing_dollars, 12 * 0.0049 + 3 * 0.0445, 1e-12);
  EXPECT_DOUBLE_EQ(report.standing_gb_hours, 12);
  EXPECT_DOUBLE_EQ(report.standing_vcpu_hours, 3);
  EXPECT_DOUBLE_EQ(report.cache_gb_hours, 60) << "the memory that clients are offered";
  EXPECT_NEAR(report.provisioned->dollars, 60 * 0.0049 + 15 * 0.0445, 1e-12);
}

TEST(Meter, MachinesStayRentedWhenTheirPodsAreGone) {
  const Price rented{"own", "", "", "", InstanceHoursPrice{0, 0, 1.5, 10, 0, true}};
  Price shared = rented;
  std::get<InstanceHoursPrice>(shared.terms).whole_machines = false;
  Meter meter(rented.Billing());
  meter.AddPoolTime(10, {2 * kGiB, 500}, hours(3), hours(6));
  EXPECT_DOUBLE_EQ(meter.Report(rented, hours(3), nullptr, nullptr).standing_dollars, 2 * 3 * 1.5);
  EXPECT_DOUBLE_EQ(meter.Report(shared, hours(3), nullptr, nullptr).standing_dollars, 1.2 * 1.5)
      << "others have the rest";
}

}  // namespace
}  // namespace infinicache::policy
