#include "policy/preflight.h"

#include <gtest/gtest.h>

#include <chrono>

#include "policy/round_trip.h"

namespace infinicache::policy {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr TimePoint kNow{seconds(1000)};

TEST(RoundTrip, IsWithinItsBoundsWhateverIsObserved) {
  const RoundTrip::Options options;
  RoundTrip round_trip(options);
  EXPECT_EQ(round_trip.Margin(), options.initial);
  for (int i = 0; i < 100; ++i) round_trip.Observe(Duration(0));
  EXPECT_EQ(round_trip.Margin(), options.min);
  for (int i = 0; i < 100; ++i) round_trip.Observe(std::chrono::hours(1));
  EXPECT_EQ(round_trip.Margin(), options.max);
}

TEST(RoundTrip, CoversTheRoundTripsThatItSaw) {
  RoundTrip round_trip;
  for (int i = 0; i < 200; ++i) {
    round_trip.Observe(milliseconds(i % 2 == 0 ? 3 : 7));
    EXPECT_GE(round_trip.Margin(), milliseconds(7)) << i;
  }
  EXPECT_LT(round_trip.Margin(), milliseconds(20));
}

TEST(Preflight, IsNeverNeededWhereThePlatformNotifies) {
  const Preflight preflight({.notifies = true});
  EXPECT_FALSE(preflight.Needed(kNow));
}

TEST(Preflight, IsNeededWithoutAPromise) {
  Preflight preflight({});
  EXPECT_TRUE(preflight.Needed(kNow));
  preflight.OnPromise(kNow + seconds(1));
  preflight.OnSessionEnded();
  EXPECT_TRUE(preflight.Needed(kNow));
}

TEST(Preflight, IsSkippedWhileAPromiseHoldsForLongerThanARoundTrip) {
  Preflight preflight({});
  preflight.OnPromise(kNow + seconds(1));
  const TimePoint last = kNow + seconds(1) - preflight.Margin();
  EXPECT_FALSE(preflight.Needed(kNow));
  EXPECT_FALSE(preflight.Needed(last - Duration(1)));
  EXPECT_TRUE(preflight.Needed(last));
}

TEST(Preflight, LeavesMoreWhereRoundTripsTakeLonger) {
  Preflight preflight({});
  preflight.OnPromise(kNow + milliseconds(100));
  EXPECT_FALSE(preflight.Needed(kNow));
  for (int i = 0; i < 20; ++i) preflight.ObserveRoundTrip(milliseconds(150));
  EXPECT_TRUE(preflight.Needed(kNow));
}

TEST(Preflight, AShorterPromiseDoesNotTakeBackALongerOne) {
  Preflight preflight({});
  preflight.OnPromise(kNow + seconds(2));
  preflight.OnPromise(kNow + milliseconds(1));
  EXPECT_FALSE(preflight.Needed(kNow + seconds(1)));
}

}  // namespace
}  // namespace infinicache::policy
