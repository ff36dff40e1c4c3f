#include "policy/rate_limit.h"

#include <gtest/gtest.h>

#include <chrono>

namespace infinicache::policy {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr TimePoint kStart{seconds(1000)};

TEST(RateLimit, ZeroIsNoLimit) {
  RateLimit limit(0, 0);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(limit.Take(1'000'000'000'000, kStart), Duration(0));
}

TEST(RateLimit, AllowsTheBurstAtOnceAndThenTheRate) {
  RateLimit limit(1000, 500);
  EXPECT_EQ(limit.Take(500, kStart), Duration(0));
  EXPECT_EQ(limit.Take(100, kStart), milliseconds(100));
  EXPECT_EQ(limit.Take(100, kStart + milliseconds(100)), milliseconds(100));
}

TEST(RateLimit, IdleTimeEarnsNoMoreThanTheBurst) {
  RateLimit limit(1000, 500);
  limit.Take(500, kStart);
  EXPECT_EQ(limit.Take(500, kStart + seconds(3600)), Duration(0));
  EXPECT_EQ(limit.Take(1000, kStart + seconds(3600)), seconds(1));
}

TEST(RateLimit, WhoWaitsAsToldKeepsTheRateOverAnyTime) {
  RateLimit limit(1'000'000, 64 * 1024);
  TimePoint now = kStart;
  std::uint64_t taken = 0;
  for (std::uint64_t bytes = 1; taken < 20'000'000; bytes = bytes * 7 % 100'003 + 1) {
    now += limit.Take(bytes, now);
    taken += bytes;
  }
  const double elapsed = std::chrono::duration<double>(now - kStart).count();
  EXPECT_NEAR(static_cast<double>(taken) / elapsed, 1'000'000, 10'000);
}

TEST(RateEstimate, FindsASteadyRateAndForgetsItWhenNothingComes) {
  RateEstimate rate;
  std::uint64_t total = 0;
  TimePoint now = kStart;
  for (int i = 0; i < 300; ++i, total += 100, now += milliseconds(100)) rate.Observe(total, now);
  EXPECT_NEAR(rate.per_second(), 1000, 10);
  for (int i = 0; i < 300; ++i, now += milliseconds(100)) rate.Observe(total, now);
  EXPECT_LT(rate.per_second(), 10);
}

TEST(RateEstimate, TheFirstTotalIsNoRate) {
  RateEstimate rate;
  rate.Observe(1'000'000, kStart);
  EXPECT_EQ(rate.per_second(), 0);
}

}  // namespace
}  // namespace infinicache::policy
