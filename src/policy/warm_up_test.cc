#include "policy/warm_up.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <vector>

namespace infinicache::policy {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::uint64_t kSeed = 11;
constexpr TimePoint kNow{hours(10)};

WarmUpInterval Fixed() {
  return WarmUpInterval({.adaptive = false});
}

TEST(WarmUpInterval, FixedStaysWhatItIs) {
  WarmUpInterval interval = Fixed();
  interval.OnFoundReclaimed(seconds(50));
  interval.OnFoundAlive(minutes(5));
  EXPECT_EQ(interval.Get(), minutes(1));
}

TEST(WarmUpInterval, ShrinksByReclaimsAndGrowsBySurvivalWithinItsBounds) {
  const WarmUpInterval::Options options;
  WarmUpInterval interval(options);
  interval.OnFoundReclaimed(minutes(1));
  EXPECT_EQ(interval.Get(), seconds(30));
  for (int i = 0; i < 10; ++i) interval.OnFoundReclaimed(interval.Get());
  EXPECT_EQ(interval.Get(), options.min);
  for (int i = 0; i < 10'000; ++i) interval.OnFoundAlive(interval.Get());
  EXPECT_EQ(interval.Get(), options.max);
}

TEST(WarmUpInterval, HearsOnlyEvidenceAboutItself) {
  WarmUpInterval interval({});
  interval.OnFoundAlive(seconds(10));      // of course
  interval.OnFoundReclaimed(minutes(10));  // not warmed up for other reasons
  interval.OnFoundReclaimed(Duration(0));  // idle for an unknown time
  EXPECT_EQ(interval.Get(), minutes(1));
  interval.OnFoundAlive(minutes(10));
  EXPECT_GT(interval.Get(), minutes(1));
}

TEST(WarmUpInterval, StaysShortOfAnIdleTimeoutOfThePlatform) {
  const Duration timeout = minutes(6);
  WarmUpInterval interval({});
  int reclaimed = 0;
  constexpr int kWarmUps = 20'000;
  for (int i = 0; i < kWarmUps; ++i) {
    const Duration idle = interval.Get();
    if (idle > timeout) {
      ++reclaimed;
      interval.OnFoundReclaimed(idle);
    } else {
      interval.OnFoundAlive(idle);
    }
  }
  EXPECT_NEAR(static_cast<double>(reclaimed) / kWarmUps, 0.01, 0.003);
  EXPECT_GT(interval.Get(), timeout / 2 - seconds(5));
  EXPECT_LE(interval.Get(), timeout + seconds(5));
}

TEST(WarmUpInterval, SettlesWhereTheShareOfReclaimedOnesIsTheRisk) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  const double risk = 0.02;
  WarmUpInterval interval({.risk = risk});
  // Reclaims at random, one in 100 minutes of idleness: 2 % after two minutes.
  int reclaimed = 0;
  constexpr int kWarmUps = 50'000;
  for (int i = 0; i < kWarmUps; ++i) {
    const Duration idle = interval.Get();
    const double minutes_idle = std::chrono::duration<double, std::ratio<60>>(idle).count();
    if (random.Unit() < 1 - std::exp(-minutes_idle / 100)) {
      ++reclaimed;
      interval.OnFoundReclaimed(idle);
    } else {
      interval.OnFoundAlive(idle);
    }
  }
  EXPECT_NEAR(static_cast<double>(reclaimed) / kWarmUps, risk, 0.003);
}

TEST(WarmUp, IsNotDueWhileTheNodeHoldsNothing) {
  Random random(kSeed);
  WarmUp warm_up(kNow, random);
  EXPECT_EQ(warm_up.Next(Fixed()), std::nullopt);
  warm_up.set_holds_data(true);
  EXPECT_TRUE(warm_up.Next(Fixed()));
  warm_up.set_holds_data(false);
  EXPECT_EQ(warm_up.Next(Fixed()), std::nullopt);
}

TEST(WarmUp, NodesThatAreMadeTogetherAreSpreadOverTheInterval) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  constexpr int kNodes = 600;
  std::array<int, 6> tens{};
  for (int i = 0; i < kNodes; ++i) {
    WarmUp warm_up(kNow, random);
    warm_up.set_holds_data(true);
    const Duration wait = *warm_up.Next(Fixed()) - kNow;
    ASSERT_GT(wait, Duration(0));
    ASSERT_LE(wait, minutes(1));
    ++tens.at(static_cast<std::size_t>(std::min<std::int64_t>(wait / seconds(10), 5)));
  }
  for (const int count : tens) EXPECT_NEAR(count, kNodes / 6.0, 40);
}

TEST(WarmUp, AnySessionStartsTheTimerAgain) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  WarmUp warm_up(kNow, random);
  warm_up.set_holds_data(true);
  for (int i = 1; i < 100; ++i) {
    const TimePoint session = kNow + i * seconds(7);
    warm_up.OnSession(session, random);
    const Duration wait = *warm_up.Next(Fixed()) - session;
    EXPECT_LE(wait, minutes(1));
    EXPECT_GE(wait, seconds(54));
  }
}

TEST(WarmUp, NodesThatOneRequestTouchedDriftApart) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  std::vector<TimePoint> due;
  for (int node = 0; node < 12; ++node) {
    WarmUp warm_up(kNow, random);
    warm_up.set_holds_data(true);
    warm_up.OnSession(kNow, random);
    due.push_back(*warm_up.Next(Fixed()));
  }
  const auto [first, last] = std::ranges::minmax(due);
  EXPECT_GT(last - first, seconds(2));
}

RC_GTEST_PROP(WarmUpProperty, TheIntervalNeverLeavesItsBounds, ()) {
  const WarmUpInterval::Options options{.risk = 0.3};
  WarmUpInterval interval(options);
  const auto count = *rc::gen::inRange(0, 200);
  Random random(*rc::gen::arbitrary<std::uint64_t>());
  for (int i = 0; i < count; ++i) {
    const Duration idle(static_cast<std::int64_t>(random.Below(3'600'000'000'000)));
    if (random.Below(2) == 0) {
      interval.OnFoundAlive(idle);
    } else {
      interval.OnFoundReclaimed(idle);
    }
    RC_ASSERT(interval.Get() >= options.min && interval.Get() <= options.max);
  }
}

}  // namespace
}  // namespace infinicache::policy
