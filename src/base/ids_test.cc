#include "base/ids.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <type_traits>
#include <unordered_set>

namespace infinicache {
namespace {

static_assert(!std::is_convertible_v<std::uint64_t, Version>, "a bare number is no version");
static_assert(!std::is_constructible_v<ObjectId, Version>, "a version is no object id");
static_assert(std::is_trivially_copyable_v<ChunkId>);

TEST(ChunkId, DiffersByObjectVersionAndIndexAndSortsInThisOrder) {
  const ChunkId id{ObjectId(5), Version(5), 5};
  EXPECT_EQ(id, (ChunkId{ObjectId(5), Version(5), 5}));
  EXPECT_LT(id, (ChunkId{ObjectId(6), Version(0), 0}));
  EXPECT_LT(id, (ChunkId{ObjectId(5), Version(6), 0}));
  EXPECT_LT(id, (ChunkId{ObjectId(5), Version(5), 6}));
}

TEST(ChunkIdHash, SpreadsConsecutiveVersionsAndIndexes) {
  constexpr std::uint64_t kVersions = 4096;
  constexpr std::uint16_t kWidth = 12;
  std::unordered_set<std::size_t> hashes;
  std::unordered_set<std::size_t> buckets;  // as a table of a power of two would use it
  for (std::uint64_t version = 1; version <= kVersions; ++version) {
    for (std::uint16_t index = 0; index < kWidth; ++index) {
      const std::size_t hash = ChunkIdHash()({ObjectId(1), Version(version), index});
      hashes.insert(hash);
      buckets.insert(hash % (1U << 16));
    }
  }
  EXPECT_EQ(hashes.size(), kVersions * kWidth);
  // 49,152 balls in 65,536 bins fill 34,600 bins if thrown at random.
  EXPECT_GT(buckets.size(), 34'000U);
}

}  // namespace
}  // namespace infinicache
