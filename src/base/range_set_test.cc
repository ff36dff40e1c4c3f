#include "base/range_set.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "base/random.h"

namespace infinicache {
namespace {

TEST(RangeSet, RangesThatTouchAreOne) {
  RangeSet set;
  set.Add(10, 5);
  set.Add(20, 5);
  EXPECT_EQ(set.ranges().size(), 2U);
  set.Add(15, 5);
  EXPECT_EQ(set.ranges(), (RangeSet::Ranges{{10, 25}}));
  EXPECT_EQ(set.bytes(), 15U);
}

TEST(RangeSet, WhatIsRemovedLeavesWhatIsBesideIt) {
  RangeSet set;
  set.Add(10, 30);
  set.Remove(20, 5);
  EXPECT_EQ(set.ranges(), (RangeSet::Ranges{{10, 20}, {25, 40}}));
  set.Remove(10, 10);
  set.Remove(35, 5);
  EXPECT_EQ(set.ranges(), (RangeSet::Ranges{{25, 35}}));
  EXPECT_EQ(set.bytes(), 10U);
}

TEST(RangeSet, HasIsTrueOfWhatLiesWithinOneRangeOnly) {
  RangeSet set;
  EXPECT_FALSE(set.Has(0, 1));
  set.Add(10, 10);
  EXPECT_TRUE(set.Has(10, 10));
  EXPECT_TRUE(set.Has(19, 1));
  EXPECT_FALSE(set.Has(9, 2));
  EXPECT_FALSE(set.Has(19, 2));
  EXPECT_FALSE(set.Has(20, 1));
  EXPECT_FALSE(set.Has(15, std::numeric_limits<std::uint64_t>::max()));
  EXPECT_FALSE(set.Has(std::numeric_limits<std::uint64_t>::max() - 1, 1));
}

TEST(RangeSet, AgreesWithASetOfBits) {
  const std::uint64_t seed = 9;
  Random random(seed);
  RangeSet set;
  std::vector<bool> bits(300);
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t begin = random.Below(bits.size() - 20);
    const std::uint64_t count = random.Below(20) + 1;
    bool all = true;
    bool none = true;
    for (std::uint64_t at = begin; at < begin + count; ++at) {
      all = all && bits[at];
      none = none && !bits[at];
    }
    ASSERT_EQ(set.Has(begin, count), all) << "seed " << seed;
    if (none) set.Add(begin, count);
    if (all) set.Remove(begin, count);
    for (std::uint64_t at = begin; at < begin + count && (all || none); ++at) bits[at] = none;
  }
  std::uint64_t count = 0;
  for (const bool bit : bits) count += bit ? 1 : 0;
  EXPECT_EQ(set.bytes(), count);
}

}  // namespace
}  // namespace infinicache
