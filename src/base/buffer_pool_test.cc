#include "base/buffer_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "base/random.h"

namespace infinicache {
namespace {

constexpr std::size_t kSizes[] = {0,          1,          4 * kKiB,       4 * kKiB + 1, 100 * kKiB,
                                  128 * kKiB, 256 * kKiB, 512 * kKiB + 1, 1 * kMiB,     8 * kMiB};

TEST(BufferPool, GivesAtLeastWhatWasAskedForAlignedToACacheLine) {
  BufferPool pool;
  for (std::size_t bytes : kSizes) {
    const Buffer buffer = pool.Allocate(bytes);
    ASSERT_TRUE(buffer);
    EXPECT_GE(buffer.size(), bytes);
    EXPECT_GE(buffer.size(), BufferPool::kBufferBytesMin);
    EXPECT_LT(buffer.size(), std::max(2 * bytes, 2 * BufferPool::kBufferBytesMin));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0U);
    std::memset(buffer.data(), 0x5A, buffer.size());
  }
}

TEST(BufferPool, CountsWhatIsLent) {
  BufferPool pool;
  EXPECT_EQ(pool.bytes_lent(), 0U);
  {
    const Buffer small = pool.Allocate(1);
    const Buffer large = pool.Allocate(1 * kMiB);
    EXPECT_EQ(pool.bytes_lent(), small.size() + large.size());
    EXPECT_GE(pool.bytes_reserved(), pool.bytes_lent());
  }
  EXPECT_EQ(pool.bytes_lent(), 0U);
}

TEST(BufferPool, ReusesWhatCameBackInsteadOfAskingTheKernel) {
  BufferPool pool;
  for (std::size_t bytes : kSizes) pool.Allocate(bytes).Reset();
  const std::size_t reserved = pool.bytes_reserved();
  for (int round = 0; round < 100; ++round) {
    for (std::size_t bytes : kSizes) pool.Allocate(bytes).Reset();
  }
  EXPECT_EQ(pool.bytes_reserved(), reserved);
}

TEST(BufferPool, LentBuffersNeverOverlap) {
  constexpr std::uint64_t kSeed = 7;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  BufferPool pool;
  struct Lent {
    Buffer buffer;
    int mark;
  };
  std::vector<Lent> lent;
  for (int step = 0; step < 2000; ++step) {
    if (lent.size() < 40 && random.Below(2) == 0) {
      Buffer buffer = pool.Allocate(random.Below(64 * kKiB));
      const int mark = static_cast<int>(random.Below(256));
      std::memset(buffer.data(), mark, buffer.size());
      lent.push_back({std::move(buffer), mark});
    } else if (!lent.empty()) {
      std::swap(lent[random.Below(lent.size())], lent.back());
      const Lent& last = lent.back();
      const auto intact = [&](std::byte byte) { return byte == std::byte(last.mark); };
      ASSERT_TRUE(std::ranges::all_of(last.buffer.span(), intact)) << "step " << step;
      lent.pop_back();
    }
  }
}

TEST(BufferPool, TrimGivesIdleLargeBuffersBackAndKeepsLentOnes) {
  BufferPool pool;
  const Buffer kept = pool.Allocate(1 * kMiB);
  std::vector<Buffer> idle;
  for (int i = 0; i < 5; ++i) idle.push_back(pool.Allocate(8 * kMiB));
  EXPECT_EQ(pool.bytes_reserved(), 41 * kMiB);
  idle.clear();

  pool.Trim(20 * kMiB);
  EXPECT_LE(pool.bytes_reserved(), 20 * kMiB);
  EXPECT_GT(pool.bytes_reserved(), 10 * kMiB) << "gave back more than was asked";
  pool.Trim(0);
  EXPECT_EQ(pool.bytes_reserved(), kept.size());
  std::memset(kept.data(), 1, kept.size());
}

TEST(Buffer, OwnsUntilMovedFromOrReset) {
  BufferPool pool;
  Buffer a = pool.Allocate(1);
  std::byte* data = a.data();
  Buffer b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move): what a move leaves is the promise
  EXPECT_EQ(b.data(), data);

  Buffer c = pool.Allocate(1);
  c = std::move(b);
  EXPECT_EQ(c.data(), data);
  EXPECT_EQ(pool.bytes_lent(), c.size()) << "the buffer that was assigned over came back";
  c.Reset();
  EXPECT_FALSE(c);
  EXPECT_EQ(c.size(), 0U);
  EXPECT_EQ(pool.bytes_lent(), 0U);
  c.Reset();
}

TEST(BufferPoolDeathTest, StopsWhenABufferOutlivesItOrIsTooLarge) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Buffer outlives;
        BufferPool pool;
        outlives = pool.Allocate(1);
      },
      "4096 bytes of buffers outlive their pool");
  BufferPool pool;
  EXPECT_DEATH(pool.Allocate(BufferPool::kBufferBytesMax + 1), "CHECK failed");
}

}  // namespace
}  // namespace infinicache
