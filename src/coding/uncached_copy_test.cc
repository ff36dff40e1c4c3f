#include "coding/uncached_copy.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/random.h"

namespace infinicache::coding {
namespace {

TEST(UncachedCopy, CopiesAnyLengthFromAnywhereToAnywhereAndNothingElse) {
  constexpr std::byte kUntouched{0xEE};
  Random random(1);
  std::vector<std::byte> from(1200);
  for (std::byte& byte : from) byte = static_cast<std::byte>(random() & 0x7F);
  for (std::size_t length : {0, 1, 63, 64, 65, 127, 128, 129, 640, 1000}) {
    for (std::size_t skip_from = 0; skip_from < 66; skip_from += 13) {
      for (std::size_t skip_to = 0; skip_to < 66; ++skip_to) {
        std::vector<std::byte> to(1200, kUntouched);
        CopyUncached(std::span(from).subspan(skip_from, length), to.data() + skip_to);
        for (std::size_t i = 0; i < to.size(); ++i) {
          const bool copied = i >= skip_to && i < skip_to + length;
          ASSERT_EQ(to[i], copied ? from[i - skip_to + skip_from] : kUntouched)
              << length << " bytes, " << skip_from << " to " << skip_to << ", byte " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace infinicache::coding
