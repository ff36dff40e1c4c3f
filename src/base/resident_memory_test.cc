#include "base/resident_memory.h"

#include <gtest/gtest.h>

#include <cstddef>

#include "base/bytes.h"
#include "base/map_memory.h"
#include "base/shared_memory.h"

namespace infinicache {
namespace {

TEST(ResidentMemory, CountsWhatIsTouchedAndNotWhatIsShared) {
  const std::uint64_t before = ResidentBytes();
  ASSERT_GT(before, 0U);
  std::byte* const own = MapMemory(32 * kMiB, Prefault::kYes);
  ASSERT_NE(own, nullptr);
  const std::uint64_t with_own = ResidentBytes();
  EXPECT_GT(with_own, before + 24 * kMiB);
  const auto shared = SharedMemory::Create("resident-memory-test", 32 * kMiB);
  ASSERT_TRUE(shared);
  // By the kernel: a sanitizer takes memory of its own for what the program touches.
  ASSERT_TRUE(PrefaultMemory(shared->data(), shared->bytes()));
  EXPECT_LT(ResidentBytes(), with_own + 16 * kMiB);
  UnmapMemory(own, 32 * kMiB);
}

}  // namespace
}  // namespace infinicache
