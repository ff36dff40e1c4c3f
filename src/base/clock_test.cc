#include "base/clock.h"

#include <gtest/gtest.h>

namespace infinicache {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(ManualClock, MovesBothTimesByHandOnly) {
  ManualClock clock;
  const TimePoint start = clock.Now();
  const WallMillis wall_start = clock.WallNow();
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(milliseconds(1500));
  EXPECT_EQ(clock.Now() - start, milliseconds(1500));
  EXPECT_EQ(clock.WallNow() - wall_start, 1500);
}

TEST(SystemClock, NeverGoesBackAndCountsUnixMilliseconds) {
  const SystemClock clock;
  TimePoint before = clock.Now();
  for (int i = 0; i < 1000; ++i) {
    const TimePoint now = clock.Now();
    EXPECT_GE(now, before);
    before = now;
  }
  EXPECT_GT(clock.WallNow(), 1'600'000'000'000) << "before 2020: not milliseconds";
  EXPECT_LT(clock.WallNow(), 10'000'000'000'000) << "after 2286: not milliseconds";
}

}  // namespace
}  // namespace infinicache
