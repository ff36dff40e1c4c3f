#include "policy/hedge.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>

#include "base/random.h"

namespace infinicache::policy {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(HedgeDelay, IsTheLeastBeforeAnythingWasSeen) {
  EXPECT_EQ(HedgeDelay().Get(), HedgeDelay::kDelayMin);
}

// RFC 6298, section 2.2: SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 * RTTVAR.
TEST(HedgeDelay, IsThreeTimesTheFirstGap) {
  HedgeDelay delay;
  delay.Observe(milliseconds(50));
  EXPECT_EQ(delay.Get(), milliseconds(150));
}

// RFC 6298, section 2.3: RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R|, then SRTT = 7/8 SRTT + 1/8 R.
TEST(HedgeDelay, SmoothsTheFollowingGapsAsRfc6298Does) {
  constexpr std::uint64_t kSeed = 11;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  HedgeDelay delay;
  delay.Observe(milliseconds(40));
  double smoothed = 40e6;
  double deviation = 20e6;
  for (int i = 0; i < 1000; ++i) {
    const Duration gap(static_cast<std::int64_t>(random.Below(80'000'000)));
    const auto r = static_cast<double>(gap.count());
    deviation = 0.75 * deviation + 0.25 * std::abs(smoothed - r);
    smoothed = 0.875 * smoothed + 0.125 * r;
    delay.Observe(gap);
    const double expected = std::clamp(smoothed + 4 * deviation, 20e6, 1e9);
    ASSERT_NEAR(static_cast<double>(delay.Get().count()), expected, 100) << "gap " << i;
  }
}

TEST(HedgeDelay, StaysWithinItsBounds) {
  HedgeDelay fast;
  for (int i = 0; i < 100; ++i) fast.Observe(microseconds(5));
  EXPECT_EQ(fast.Get(), milliseconds(20));
  HedgeDelay slow;
  for (int i = 0; i < 100; ++i) slow.Observe(hours(1));
  EXPECT_EQ(slow.Get(), seconds(1));
}

TEST(HedgeDelay, FollowsANetworkThatBecomesSlowAndFastAgain) {
  HedgeDelay delay;
  for (int i = 0; i < 100; ++i) delay.Observe(milliseconds(1));
  EXPECT_EQ(delay.Get(), HedgeDelay::kDelayMin);
  for (int i = 0; i < 100; ++i) delay.Observe(milliseconds(200));
  EXPECT_GE(delay.Get(), milliseconds(199));
  EXPECT_LE(delay.Get(), milliseconds(210));
  for (int i = 0; i < 200; ++i) delay.Observe(milliseconds(1));
  EXPECT_EQ(delay.Get(), HedgeDelay::kDelayMin);
}

}  // namespace
}  // namespace infinicache::policy
