#include "base/histogram.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <latch>
#include <numeric>
#include <thread>
#include <vector>

namespace infinicache {
namespace {

std::uint64_t Total(const LatencyHistogram& histogram) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i <= LatencyHistogram::kBounds; ++i) total += histogram.bucket_count(i);
  return total;
}

TEST(LatencyHistogram, BoundsIncreaseByAboutTwo) {
  const auto& bounds = LatencyHistogram::kUpperSeconds;
  for (std::size_t i = 1; i < bounds.size(); ++i) {
    EXPECT_GT(bounds[i] / bounds[i - 1], 2.0) << i;
    EXPECT_LT(bounds[i] / bounds[i - 1], 2.3) << i;
  }
}

TEST(LatencyHistogram, AnObservationAtABoundCountsInItsBucket) {
  for (std::size_t i = 0; i < LatencyHistogram::kBounds; ++i) {
    LatencyHistogram histogram;
    histogram.Observe(LatencyHistogram::kUpperSeconds[i]);
    EXPECT_EQ(histogram.bucket_count(i), 1U) << i;
    histogram.Observe(LatencyHistogram::kUpperSeconds[i] * 1.0001);
    EXPECT_EQ(histogram.bucket_count(i + 1), 1U) << i;
    EXPECT_EQ(Total(histogram), 2U);
  }
}

TEST(LatencyHistogram, ExtremesFallIntoTheOuterBuckets) {
  LatencyHistogram histogram;
  histogram.Observe(0);
  histogram.Observe(1e-9);
  histogram.Observe(3600);
  EXPECT_EQ(histogram.bucket_count(0), 2U);
  EXPECT_EQ(histogram.bucket_count(LatencyHistogram::kBounds), 1U);
}

TEST(LatencyHistogram, SumIsExactToANanosecondPerObservation) {
  LatencyHistogram histogram;
  for (double seconds : {0.25, 0.5, 100.0}) histogram.Observe(seconds);
  EXPECT_NEAR(histogram.sum_seconds(), 100.75, 3e-9);
}

TEST(LatencyHistogram, LosesNoObservationOfConcurrentThreads) {
  constexpr int kThreads = 4;
  constexpr int kEach = 200'000;
  LatencyHistogram histogram;
  Counter counter{0};
  std::latch start(kThreads);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&histogram, &counter, &start] {
        start.arrive_and_wait();
        for (int i = 0; i < kEach; ++i) {
          histogram.Observe(0.5);
          Add(counter, 2);
        }
      });
    }
  }
  EXPECT_EQ(Total(histogram), std::uint64_t{kThreads} * kEach);
  EXPECT_NEAR(histogram.sum_seconds(), 0.5 * kThreads * kEach, 1e-3);
  EXPECT_EQ(Read(counter), std::uint64_t{2} * kThreads * kEach);
}

}  // namespace
}  // namespace infinicache
