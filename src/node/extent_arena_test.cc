#include "node/extent_arena.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

#include "base/random.h"

namespace infinicache::node {
namespace {

constexpr std::size_t kBlock = ExtentArena::kBlockBytesMax;

std::size_t Sum(const std::vector<Extent>& extents) {
  std::size_t bytes = 0;
  for (const Extent& extent : extents) bytes += extent.bytes;
  return bytes;
}

// The memory behind an extent, by what the header says of blocks.
std::size_t BlockBytes(const Extent& extent) {
  return std::bit_ceil(std::max<std::size_t>(extent.bytes, ExtentArena::kBlockBytesMin));
}

// The naive model: who has which addresses, and how much that is.
class Model {
 public:
  explicit Model(const ExtentArena& arena) : arena_(arena) {}

  // Checks that what was lent is new, aligned and as much as was asked for.
  void Lend(const std::vector<Extent>& extents, std::size_t bytes) {
    ASSERT_EQ(Sum(extents), bytes);
    std::size_t blocks = 0;
    for (const Extent& extent : extents) {
      const std::size_t block = BlockBytes(extent);
      const auto address = reinterpret_cast<std::uintptr_t>(extent.data);
      ASSERT_GT(extent.bytes, 0U);
      ASSERT_EQ((address - kStripPageOffset) % block, 0U) << "a block is aligned to its length";
      const auto after = lent_.lower_bound(address);
      ASSERT_TRUE(after == lent_.end() || after->first >= address + block);
      ASSERT_TRUE(after == lent_.begin() || std::prev(after)->second <= address);
      lent_[address] = address + block;
      blocks += block;
    }
    ASSERT_EQ(blocks, ExtentArena::CostOf(bytes));
    used_ += blocks;
  }
  void Return(const std::vector<Extent>& extents) {
    for (const Extent& extent : extents) {
      lent_.erase(reinterpret_cast<std::uintptr_t>(extent.data));
      used_ -= BlockBytes(extent);
    }
  }
  void Check() const {
    ASSERT_EQ(arena_.used_bytes(), used_);
    ASSERT_LE(arena_.used_bytes(), arena_.touched_bytes());
    ASSERT_LE(arena_.touched_bytes(), arena_.limit_bytes());
  }
  bool HasRoomFor(std::size_t bytes) const {
    return ExtentArena::CostOf(bytes) <= arena_.limit_bytes() - used_;
  }

 private:
  const ExtentArena& arena_;
  std::map<std::uintptr_t, std::uintptr_t> lent_;  // begin of each block, and its end
  std::uint64_t used_ = 0;
};

TEST(ExtentArena, RoundsItsLimitDownToWholeBlocks) {
  EXPECT_EQ(ExtentArena(kBlock).limit_bytes(), kBlock);
  EXPECT_EQ(ExtentArena(2 * kBlock - 1).limit_bytes(), kBlock);
  EXPECT_EQ(ExtentArena(7 * kBlock + 5).limit_bytes(), 7 * kBlock);
}

TEST(ExtentArena, TouchesMemoryOnlyWhenItIsNeeded) {
  ExtentArena arena(8 * kBlock);
  EXPECT_EQ(arena.touched_bytes(), 0U);
  std::vector<Extent> extents;
  ASSERT_TRUE(arena.Allocate(1, extents));
  EXPECT_EQ(arena.touched_bytes(), kBlock);
  ASSERT_TRUE(arena.Allocate(kBlock - ExtentArena::kBlockBytesMin, extents));
  EXPECT_EQ(arena.touched_bytes(), kBlock);
  ASSERT_TRUE(arena.Allocate(kBlock, extents));
  EXPECT_EQ(arena.touched_bytes(), 2 * kBlock);
  arena.Free(extents);
  EXPECT_EQ(arena.used_bytes(), 0U);
  EXPECT_EQ(arena.touched_bytes(), 2 * kBlock) << "kept for reuse";
}

TEST(ExtentArena, WastesLessThanTheSmallestBlockPerRequest) {
  ExtentArena arena(4 * kBlock);
  for (const std::size_t bytes :
       {std::size_t{1}, std::size_t{1023}, std::size_t{1024}, std::size_t{1025}, 100 * kKiB,
        128 * kKiB - 64, kBlock - 1, kBlock, kBlock + 1, 3 * kBlock + 777}) {
    std::vector<Extent> extents;
    ASSERT_TRUE(arena.Allocate(bytes, extents)) << bytes;
    EXPECT_EQ(Sum(extents), bytes);
    EXPECT_EQ(arena.used_bytes(), ExtentArena::CostOf(bytes));
    EXPECT_LT(arena.used_bytes() - bytes, ExtentArena::kBlockBytesMin);
    // What the header shows: 100 KiB are three extents.
    if (bytes == 100 * kKiB) {
      EXPECT_EQ(extents.size(), 3U);
    }
    arena.Free(extents);
  }
  std::vector<Extent> none;
  EXPECT_TRUE(arena.Allocate(0, none));
  EXPECT_TRUE(none.empty());
}

TEST(ExtentArena, AnExhaustedArenaGivesNothingAndKeepsWhatItLent) {
  ExtentArena arena(2 * kBlock);
  std::vector<Extent> extents;
  ASSERT_TRUE(arena.Allocate(2 * kBlock - 3 * kKiB, extents));
  const std::size_t count = extents.size();
  EXPECT_FALSE(arena.Allocate(3 * kKiB + 1, extents));
  EXPECT_EQ(extents.size(), count);
  EXPECT_EQ(arena.used_bytes(), 2 * kBlock - 3 * kKiB);
  EXPECT_TRUE(arena.Allocate(3 * kKiB, extents));
  EXPECT_EQ(arena.used_bytes(), arena.limit_bytes());
  EXPECT_FALSE(arena.Allocate(1, extents));
}

TEST(ExtentArena, NoFragmentationMakesARequestFailWhileEnoughIsFree) {
  ExtentArena arena(2 * kBlock);
  std::vector<std::vector<Extent>> smallest(arena.limit_bytes() / kKiB);
  for (auto& extents : smallest) ASSERT_TRUE(arena.Allocate(kKiB, extents));
  // Every second KiB is free: not one block of 2 KiB is left.
  for (std::size_t i = 0; i < smallest.size(); i += 2) arena.Free(smallest[i]);
  std::vector<Extent> scattered;
  EXPECT_TRUE(arena.Allocate(kBlock, scattered));
  EXPECT_EQ(scattered.size(), kBlock / kKiB);
  EXPECT_EQ(arena.used_bytes(), arena.limit_bytes());
}

TEST(ExtentArena, RandomUseNeverOverlapsAndComesTogetherAgain) {
  constexpr std::uint64_t kSeed = 31;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  ExtentArena arena(16 * kBlock);
  Model model(arena);
  struct Lent {
    std::vector<Extent> extents;
    std::byte mark;
  };
  std::vector<Lent> lent;
  std::size_t refused = 0;
  for (int step = 0; step < 20'000; ++step) {
    SCOPED_TRACE(testing::Message() << "step " << step);
    if (random.Below(100) < 55) {
      // Mostly of the lengths of strips, some odd, some large.
      const std::size_t bytes = 1 + random.Below(std::size_t{1} << (10 + random.Below(13)));
      Lent next{{}, static_cast<std::byte>(random())};
      const bool room = model.HasRoomFor(bytes);
      ASSERT_EQ(arena.Allocate(bytes, next.extents), room) << bytes << " bytes";
      if (!room) {
        ASSERT_TRUE(next.extents.empty());
        ++refused;
        continue;
      }
      ASSERT_NO_FATAL_FAILURE(model.Lend(next.extents, bytes));
      for (const Extent& extent : next.extents) {
        extent.data[0] = extent.data[extent.bytes - 1] = next.mark;
      }
      lent.push_back(std::move(next));
    } else if (!lent.empty()) {
      std::swap(lent[random.Below(lent.size())], lent.back());
      for (const Extent& extent : lent.back().extents) {
        ASSERT_EQ(extent.data[0], lent.back().mark);
        ASSERT_EQ(extent.data[extent.bytes - 1], lent.back().mark);
      }
      model.Return(lent.back().extents);
      arena.Free(lent.back().extents);
      lent.pop_back();
    }
    ASSERT_NO_FATAL_FAILURE(model.Check());
  }
  EXPECT_GT(refused, 0U) << "the arena was never full";

  for (const Lent& each : lent) arena.Free(each.extents);
  EXPECT_EQ(arena.used_bytes(), 0U);
  // All buddies found each other: every block is whole.
  std::vector<Extent> whole;
  for (std::size_t i = 0; i < 16; ++i) {
    whole.clear();
    ASSERT_TRUE(arena.Allocate(kBlock, whole));
    ASSERT_EQ(whole.size(), 1U) << "block " << i << " is in pieces";
  }
  EXPECT_FALSE(arena.Allocate(1, whole));
}

TEST(ExtentArena, LendsMemoryThatOthersReadToo) {
  auto memory = SharedMemory::Create("arena", ExtentArena::MemoryBytes(2 * kBlock));
  ASSERT_TRUE(memory);
  const auto seen = SharedMemory::Open(getpid(), memory->fd(), "arena");
  ASSERT_TRUE(seen);
  ExtentArena arena(std::move(*memory), 2 * kBlock);
  ASSERT_NE(arena.shared(), nullptr);
  EXPECT_EQ(arena.limit_bytes(), 2 * kBlock);
  std::vector<Extent> extents;
  ASSERT_TRUE(arena.Allocate(kBlock, extents));
  ASSERT_TRUE(arena.Allocate(kBlock, extents));
  EXPECT_FALSE(arena.Allocate(1, extents));
  for (const Extent& extent : extents) {
    std::memset(extent.data, 'x', extent.bytes);
    EXPECT_EQ(arena.OffsetOf(extent) % (4 * kKiB), kStripPageOffset);
    EXPECT_EQ(seen->data()[arena.OffsetOf(extent) + extent.bytes - 1], std::byte{'x'});
  }
  arena.Free(extents);
}

TEST(ExtentArena, LendsMultiplesAndCarvesThemIntoExtents) {
  ExtentArena arena(2 * kBlock);
  const std::size_t unit = 98 * kKiB;
  const Extent lent = arena.Lend(kBlock, unit);
  EXPECT_EQ(lent.bytes, kBlock / unit * unit);
  EXPECT_EQ(arena.used_bytes(), lent.bytes);
  std::vector<Extent> extents;
  for (std::size_t at = 0; at < lent.bytes; at += unit) {
    std::vector<Extent> strip;
    arena.Carve(lent.data + at, unit - 300, strip);
    std::size_t bytes = 0;
    for (const Extent& extent : strip) {
      EXPECT_EQ(extent.data, lent.data + at + bytes);
      bytes += extent.bytes;
    }
    EXPECT_EQ(bytes, unit - 300);
    extents.insert(extents.end(), strip.begin(), strip.end());
  }
  EXPECT_EQ(arena.used_bytes(), lent.bytes);
  arena.Free(extents);
  EXPECT_EQ(arena.used_bytes(), 0U);
  EXPECT_EQ(arena.Lend(kBlock, kBlock).bytes, kBlock) << "the pieces found each other again";
}

// Free blocks that are no buddies, though they touch each other.
TEST(ExtentArena, LendsGapsBetweenExtents) {
  ExtentArena arena(kBlock);
  const std::size_t unit = 98 * kKiB;
  const Extent all = arena.Lend(kBlock, kBlock);
  std::vector<std::vector<Extent>> strips;
  std::vector<Extent> rest;
  for (std::size_t at = 0; at + unit <= kBlock; at += unit)
    arena.Carve(all.data + at, unit, strips.emplace_back());
  arena.Carve(all.data + strips.size() * unit, kBlock - strips.size() * unit, rest);
  for (std::size_t i = 1; i < strips.size(); i += 2) {
    arena.Free(strips[i]);
    const Extent gap = arena.Lend(kBlock, unit);
    EXPECT_EQ(gap.bytes, unit) << i;
    EXPECT_EQ(gap.data, all.data + i * unit) << i;
  }
  EXPECT_EQ(arena.used_bytes(), kBlock);
  EXPECT_EQ(arena.Lend(kBlock, kKiB).bytes, 0U);
}

TEST(ExtentArena, AGapThatIsJustLongEnoughIsLentBeforeALongOne) {
  ExtentArena arena(kBlock);
  const std::size_t unit = 98 * kKiB;
  const Extent all = arena.Lend(kBlock, kBlock);
  std::vector<Extent> before;
  std::vector<Extent> gap;
  std::vector<Extent> between;
  std::vector<Extent> behind;
  arena.Carve(all.data, 3 * unit, before);
  arena.Carve(all.data + 3 * unit, unit, gap);
  arena.Carve(all.data + 4 * unit, unit, between);
  arena.Carve(all.data + 5 * unit, kBlock - 5 * unit, behind);
  arena.Free(behind);
  arena.Free(gap);
  const Extent first = arena.Lend(kBlock, unit);
  EXPECT_EQ(first.data, all.data + 3 * unit);
  EXPECT_EQ(first.bytes, unit);
  const Extent second = arena.Lend(kBlock, unit);
  EXPECT_EQ(second.data, all.data + 5 * unit);
  EXPECT_EQ(second.bytes, 15 * unit);
}

TEST(ExtentArena, WhatWasTouchedBeforeIsLentFirst) {
  ExtentArena arena(8 * kBlock);
  std::vector<Extent> extents;
  ASSERT_TRUE(arena.Allocate(kBlock / 2 + 1, extents));
  const std::uint64_t touched = arena.touched_bytes();
  EXPECT_EQ(arena.Lend(kBlock, 64 * kKiB).bytes, 15 * 64 * kKiB);
  EXPECT_EQ(arena.touched_bytes(), touched);
  EXPECT_EQ(arena.Lend(kBlock, kBlock).bytes, kBlock);
  EXPECT_GT(arena.touched_bytes(), touched);
}

// Whatever is lent, carved, allocated and freed: nothing overlaps, nothing gets lost.
TEST(ExtentArena, KeepsItsBooksThroughRandomLending) {
  const std::uint64_t seed = 4;
  Random random(seed);
  ExtentArena arena(4 * kBlock);
  std::map<std::byte*, std::byte*> taken;  // begin to end
  const auto take = [&](std::byte* data, std::size_t bytes) {
    std::byte* const end = data + RoundUp(bytes, kKiB);
    const auto next = taken.lower_bound(data);
    ASSERT_TRUE(next == taken.end() || end <= next->first) << "seed " << seed;
    ASSERT_TRUE(next == taken.begin() || std::prev(next)->second <= data) << "seed " << seed;
    taken.emplace(data, end);
  };
  std::vector<std::vector<Extent>> held;
  for (int i = 0; i < 20000; ++i) {
    if (random.Below(2) == 0 && !held.empty()) {
      std::swap(held[random.Below(held.size())], held.back());
      for (const Extent& extent : held.back()) taken.erase(extent.data);
      arena.Free(held.back());
      held.pop_back();
    } else if (random.Below(2) == 0) {
      std::vector<Extent> extents;
      if (!arena.Allocate(random.Below(300 * kKiB) + 1, extents)) continue;
      for (const Extent& extent : extents) take(extent.data, extent.bytes);
      held.push_back(std::move(extents));
    } else {
      const std::size_t unit = (random.Below(200) + 1) * kKiB;
      const Extent lent = arena.Lend(random.Below(kBlock) + 1, unit);
      ASSERT_EQ(lent.bytes % unit, 0U);
      for (std::size_t at = 0; at < lent.bytes; at += unit) {
        std::vector<Extent> extents;
        arena.Carve(lent.data + at, unit - random.Below(kKiB), extents);
        for (const Extent& extent : extents) take(extent.data, extent.bytes);
        held.push_back(std::move(extents));
      }
    }
  }
  for (const auto& extents : held) arena.Free(extents);
  EXPECT_EQ(arena.used_bytes(), 0U);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(arena.Lend(kBlock, kBlock).bytes, kBlock);
}

TEST(ExtentArenaDeathTest, FreeingTwiceIsABug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  ExtentArena arena(kBlock);
  std::vector<Extent> kept;
  std::vector<Extent> extents;
  ASSERT_TRUE(arena.Allocate(10 * kKiB, kept));
  ASSERT_TRUE(arena.Allocate(4 * kKiB, extents));
  arena.Free(extents);
  EXPECT_DEATH(arena.Free(extents), "freed block was not lent");
  EXPECT_DEATH(ExtentArena(kBlock - 1), "below one block");
}

}  // namespace
}  // namespace infinicache::node
