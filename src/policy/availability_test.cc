#include "policy/availability.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <vector>

#include "base/random.h"

namespace infinicache::policy {
namespace {

// By the definition, from whole numbers: how many of all sets of `reclaimed` nodes hit more than
// `parity` of the first data + parity nodes.
double ByCounting(unsigned nodes, unsigned data, unsigned parity, unsigned reclaimed) {
  std::uint64_t sets = 0;
  std::uint64_t losses = 0;
  for (std::uint32_t set = 0; set < (1U << nodes); ++set) {
    if (std::popcount(set) != static_cast<int>(reclaimed)) continue;
    ++sets;
    const std::uint32_t own = set & ((1U << (data + parity)) - 1);
    losses += std::popcount(own) > static_cast<int>(parity) ? 1 : 0;
  }
  return static_cast<double>(losses) / static_cast<double>(sets);
}

TEST(Availability, IsExactForSmallPools) {
  for (unsigned nodes = 3; nodes <= 14; ++nodes) {
    for (unsigned parity = 0; parity <= 2; ++parity) {
      for (unsigned data = 1; data + parity <= nodes; data += 2) {
        for (unsigned reclaimed = 0; reclaimed <= nodes; ++reclaimed) {
          EXPECT_NEAR(LossProbability(nodes, data, parity, reclaimed),
                      ByCounting(nodes, data, parity, reclaimed), 1e-10)
              << nodes << " nodes, " << data << "+" << parity << ", " << reclaimed;
        }
      }
    }
  }
}

// P(r) in percent for 400 nodes, as computed for the paper's pool from the exact sum.
TEST(Availability, GivesTheTableOfThePapersPool) {
  struct Row {
    unsigned data;
    unsigned parity;
    std::uint64_t reclaimed;
    double percent;
    double digit;  // of the last figure given
  };
  const std::vector<Row> rows = {
      {10, 0, 5, 11.9, 0.1},       {10, 0, 12, 26.5, 0.1},     {10, 0, 20, 40.5, 0.1},
      {10, 0, 40, 65.6, 0.1},      {10, 0, 100, 94.6, 0.1},    {10, 1, 5, 0.66, 0.01},
      {10, 1, 12, 3.9, 0.1},       {10, 1, 20, 10.0, 0.1},     {10, 1, 40, 30.3, 0.1},
      {10, 1, 100, 80.7, 0.1},     {10, 2, 5, 0.020, 0.001},   {10, 2, 12, 0.39, 0.01},
      {10, 2, 20, 1.77, 0.01},     {10, 2, 40, 10.8, 0.1},     {10, 2, 100, 61.2, 0.1},
      {10, 4, 12, 0.0017, 0.0001}, {10, 4, 20, 0.028, 0.001},  {10, 4, 40, 0.79, 0.01},
      {10, 4, 100, 25.6, 0.1},     {5, 1, 5, 0.18, 0.01},      {5, 1, 12, 1.16, 0.01},
      {5, 1, 20, 3.16, 0.01},      {5, 1, 40, 11.3, 0.1},      {5, 1, 100, 46.7, 0.1},
      {4, 2, 5, 0.0019, 0.0001},   {4, 2, 12, 0.0395, 0.0001}, {4, 2, 20, 0.20, 0.01},
      {4, 2, 40, 1.50, 0.01},      {4, 2, 100, 16.8, 0.1}};
  for (const Row& row : rows) {
    EXPECT_NEAR(100 * LossProbability(400, row.data, row.parity, row.reclaimed), row.percent,
                0.51 * row.digit)
        << row.data << "+" << row.parity << " with " << row.reclaimed << " reclaimed";
  }
}

TEST(Availability, UpToParityReclaimsLoseNothingAndAllLoseEverything) {
  EXPECT_EQ(LossProbability(400, 10, 2, 0), 0);
  EXPECT_EQ(LossProbability(400, 10, 2, 2), 0);
  EXPECT_GT(LossProbability(400, 10, 2, 3), 0);
  EXPECT_NEAR(LossProbability(400, 10, 2, 400), 1, 1e-9);
  EXPECT_NEAR(LossProbability(12, 10, 2, 3), 1, 1e-9);
}

TEST(Availability, MatchesDrawnReclaims) {
  constexpr std::uint64_t kSeed = 3;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  std::vector<std::uint32_t> nodes(40);
  std::iota(nodes.begin(), nodes.end(), 0U);
  constexpr int kTrials = 40'000;
  int losses = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    for (std::size_t i = 0; i < 8; ++i)
      std::swap(nodes[i], nodes[i + random.Below(nodes.size() - i)]);
    losses += std::count_if(nodes.begin(), nodes.begin() + 8,
                            [](std::uint32_t node) { return node < 12; }) > 2
                  ? 1
                  : 0;
  }
  EXPECT_NEAR(LossProbability(40, 10, 2, 8), losses / static_cast<double>(kTrials), 0.01);
}

TEST(Availability, AveragesWindowsAndCompoundsThem) {
  const std::vector<std::uint64_t> windows = {0, 0, 12, 500};
  EXPECT_NEAR(WindowLossProbability(400, 10, 2, windows), (LossProbability(400, 10, 2, 12) + 1) / 4,
              1e-9);
  EXPECT_EQ(WindowLossProbability(400, 10, 2, {}), 0);
  EXPECT_EQ(Availability(0, 60), 1);
  EXPECT_EQ(Availability(1, 60), 0);
  // The paper's 95.4 % and 81.4 % an hour are these losses a minute.
  EXPECT_NEAR(Availability(7.8e-4, 60), 0.954, 0.0005);
  EXPECT_NEAR(Availability(3.4e-3, 60), 0.814, 0.002);
}

}  // namespace
}  // namespace infinicache::policy
