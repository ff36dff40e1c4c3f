#include "policy/idle_stay.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/random.h"

namespace infinicache::policy {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// 1 per second awake against 0.1 per invocation: break-even after 100 ms.
constexpr double kIdleCost = 1;
constexpr double kInvocationCost = 0.1;

IdleStay Stay() {
  return {kIdleCost, kInvocationCost, seconds(60)};
}

// What a session pays for the gaps, by the costs above.
double CostOf(Duration gap, Duration stay) {
  const double second = 1e9;
  return gap <= stay ? kIdleCost * static_cast<double>(gap.count()) / second
                     : kIdleCost * static_cast<double>(stay.count()) / second + kInvocationCost;
}

TEST(IdleStay, WaitsForTheBreakEvenTimeWhileLittleIsKnown) {
  IdleStay stay = Stay();
  EXPECT_NEAR(static_cast<double>(stay.Get().count()), 1e8, 1);
  stay.Observe(seconds(100));
  EXPECT_EQ(stay.Get(), stay.break_even());
}

TEST(IdleStay, LeavesAtOnceWhereRequestsAreRare) {
  IdleStay stay = Stay();
  for (int i = 0; i < 50; ++i) stay.Observe(seconds(10));
  EXPECT_EQ(stay.Get(), Duration(0));
}

TEST(IdleStay, WaitsForABurstsGapsAndNotForTheNextBurst) {
  IdleStay stay = Stay();
  for (int burst = 0; burst < 20; ++burst) {
    for (int i = 0; i < 20; ++i) stay.Observe(milliseconds(2));
    stay.Observe(seconds(30));
  }
  EXPECT_GE(stay.Get(), milliseconds(2));
  EXPECT_LE(stay.Get(), milliseconds(5));
}

TEST(IdleStay, ForgetsWhatIsLongPast) {
  IdleStay stay = Stay();
  for (int i = 0; i < 200; ++i) stay.Observe(seconds(10));
  for (int i = 0; i < 200; ++i) stay.Observe(milliseconds(50));
  EXPECT_GE(stay.Get(), milliseconds(50));
}

TEST(IdleStay, StaysForItsMaximumWhereIdlenessIsFree) {
  IdleStay stay(0, 1, seconds(60));
  EXPECT_EQ(stay.break_even(), seconds(60));
  for (int i = 0; i < 50; ++i) stay.Observe(milliseconds(1));
  EXPECT_EQ(stay.Get(), seconds(60));
  EXPECT_EQ(IdleStay(0, 0, seconds(60)).Get(), seconds(60));
}

TEST(IdleStay, LeavesAtOnceWhereInvocationsAreFree) {
  IdleStay stay(1, 0, seconds(60));
  EXPECT_EQ(stay.Get(), Duration(0));
  for (int i = 0; i < 50; ++i) stay.Observe(milliseconds(1));
  EXPECT_EQ(stay.Get(), Duration(0));
}

RC_GTEST_PROP(IdleStayProperty, IsWithinTheBreakEvenTimeAndNotTwiceAsDearAsAnOracle, ()) {
  const auto gap = milliseconds(*rc::gen::inRange(0, 1000));
  const auto count = *rc::gen::inRange(0, 100);
  IdleStay stay = Stay();
  for (int i = 0; i < count; ++i) stay.Observe(gap);
  const Duration wait = stay.Get();
  RC_ASSERT(wait >= Duration(0) && wait <= stay.break_even());
  // An oracle stays for a gap, or leaves at once.
  const double oracle = std::min(CostOf(gap, gap), kInvocationCost);
  RC_ASSERT(CostOf(gap, wait) <= 2 * oracle + 1e-9);
}

TEST(IdleStay, CostsNoMoreThanAlwaysWaitingOrNeverDoesOnMixedGaps) {
  constexpr std::uint64_t kSeed = 5;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  for (const double short_share : {0.05, 0.3, 0.5, 0.7, 0.95}) {
    IdleStay stay = Stay();
    double learned = 0;
    double always = 0;
    double never = 0;
    for (int i = 0; i < 5000; ++i) {
      const Duration gap = random.Unit() < short_share
                               ? Duration(random.Below(40'000'000))
                               : seconds(1) + Duration(random.Below(10'000'000'000));
      learned += CostOf(gap, stay.Get());
      always += CostOf(gap, stay.break_even());
      never += CostOf(gap, Duration(0));
      stay.Observe(gap);
    }
    EXPECT_LT(learned, 1.1 * std::min(always, never)) << short_share;
  }
}

}  // namespace
}  // namespace infinicache::policy
