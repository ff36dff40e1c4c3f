#include "policy/backoff.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace infinicache::policy {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr std::uint64_t kSeed = 3;

// What the header promises for the n-th failure in a row, before jitter; in a type that is wide
// enough for every n that is asked here.
Duration FullWait(Duration initial, Duration max, int n) {
  __int128 wait = initial.count();
  for (int i = 1; i < n && wait < max.count(); ++i) wait *= 2;
  return Duration(static_cast<std::int64_t>(std::min<__int128>(wait, max.count())));
}

void ExpectWithinBounds(Duration wait, Duration full) {
  EXPECT_GE(wait, full / 2);
  EXPECT_LE(wait, full);
}

TEST(Backoff, DoublesFromItsInitialWaitToItsLargestAndStaysThere) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  const Duration initial = milliseconds(50);
  const Duration max = seconds(10);
  Backoff backoff(initial, max);
  for (int n = 1; n <= 100; ++n) {
    SCOPED_TRACE(testing::Message() << "failure " << n);
    ExpectWithinBounds(backoff.Next(random), FullWait(initial, max, n));
    EXPECT_EQ(backoff.failures(), n);
  }
}

TEST(Backoff, NeverLeavesItsBoundsHoweverLongOrShortTheWaitsAre) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  const Duration durations[] = {nanoseconds(1),        nanoseconds(3),
                                milliseconds(10),      seconds(9),
                                std::chrono::hours(1), std::chrono::hours(2'000'000)};
  for (const Duration initial : durations) {
    for (const Duration max : durations) {
      Backoff backoff(initial, max);
      for (int n = 1; n <= 80; ++n) {
        SCOPED_TRACE(testing::Message()
                     << initial.count() << " to " << max.count() << ", failure " << n);
        ExpectWithinBounds(backoff.Next(random), FullWait(initial, max, n));
      }
    }
  }
}

TEST(Backoff, JitterSpreadsOverTheUpperHalf) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  constexpr int kDraws = 10'000;
  double sum = 0;
  double least = 1;
  double greatest = 0;
  for (int i = 0; i < kDraws; ++i) {
    Backoff backoff(seconds(1), seconds(1));
    const double wait = std::chrono::duration<double>(backoff.Next(random)).count();
    sum += wait;
    least = std::min(least, wait);
    greatest = std::max(greatest, wait);
  }
  EXPECT_NEAR(sum / kDraws, 0.75, 0.01);
  EXPECT_LT(least, 0.51);
  EXPECT_GT(greatest, 0.99);
}

TEST(Backoff, StartsAnewAfterReset) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  Backoff backoff(milliseconds(10), seconds(2));
  for (int n = 0; n < 20; ++n) backoff.Next(random);
  backoff.Reset();
  EXPECT_EQ(backoff.failures(), 0);
  ExpectWithinBounds(backoff.Next(random), milliseconds(10));
  ExpectWithinBounds(backoff.Next(random), milliseconds(20));
}

}  // namespace
}  // namespace infinicache::policy
