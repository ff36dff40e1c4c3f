#include "base/map_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "base/bytes.h"

namespace infinicache {
namespace {

std::size_t ResidentPages(std::byte* data, std::size_t bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages(DivideUp(bytes, page));
  EXPECT_EQ(mincore(data, bytes, pages.data()), 0);
  std::size_t resident = 0;
  for (unsigned char state : pages) resident += state & 1U;
  return resident;
}

TEST(MapMemory, IsZeroedWritableAndLeavesNothingOutsideItsBounds) {
  for (std::size_t bytes : {std::size_t{1}, std::size_t{4096}, std::size_t{100'000},
                            std::size_t{2 * kMiB}, std::size_t{5 * kMiB + 1}}) {
    std::byte* data = MapMemory(bytes, Prefault::kNo);
    ASSERT_NE(data, nullptr);
    for (std::size_t i = 0; i < bytes; i += 1021) ASSERT_EQ(data[i], std::byte{0});
    std::memset(data, 0xA5, bytes);
    UnmapMemory(data, bytes);
  }
}

TEST(MapMemory, StartsOnAHugePageFromTwoMebibytes) {
  for (int i = 0; i < 8; ++i) {
    std::byte* data = MapMemory(3 * kMiB, Prefault::kNo);
    ASSERT_NE(data, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data) % (2 * kMiB), 0U);
    UnmapMemory(data, 3 * kMiB);
  }
}

TEST(MapMemory, PrefaultTouchesEveryPageNow) {
  constexpr std::size_t kBytes = 3 * kMiB;
  std::byte* data = MapMemory(kBytes, Prefault::kYes);
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(ResidentPages(data, kBytes), kBytes / static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
  UnmapMemory(data, kBytes);
}

TEST(MapMemory, ReturnsNullWhenTheKernelRefuses) {
  EXPECT_EQ(MapMemory(std::size_t{1} << 60, Prefault::kNo), nullptr);
}

}  // namespace
}  // namespace infinicache
