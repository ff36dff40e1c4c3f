#include "base/resident_memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "base/shared_memory.h"

namespace infinicache {
namespace {

TEST(ResidentMemory, CountsWhatIsTouchedAndNotWhatIsShared) {
  const std::uint64_t before = ResidentBytes();
  ASSERT_GT(before, 0U);
  const std::vector<char> own(32 * kMiB, 'x');
  const std::uint64_t with_own = ResidentBytes();
  EXPECT_GT(with_own, before + 24 * kMiB);
  const auto shared = SharedMemory::Create("resident-memory-test", 32 * kMiB);
  ASSERT_TRUE(shared);
  std::memset(shared->data(), 'x', shared->bytes());
  EXPECT_LT(ResidentBytes(), with_own + 16 * kMiB);
}

}  // namespace
}  // namespace infinicache
