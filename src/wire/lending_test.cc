#include "wire/lending.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace infinicache::wire {
namespace {

StoredChunk SomeChunk(std::size_t strips) {
  StoredChunk stored;
  stored.chunk = {ObjectId(0x0102030405060708), Version(9), 11};
  stored.meta = {"a key", 4096 * strips, 4096 * strips, 4096, 2, 1, 1700000000000};
  for (std::size_t i = 0; i < strips; ++i) {
    stored.location.AddStrip(static_cast<std::uint32_t>(i));
    stored.location.AddPiece(8192 * i, 4096);
  }
  return stored;
}

std::string Encode(const StoredChunk& stored) {
  return EncodeStoredChunk(stored.chunk, stored.meta, stored.location);
}

TEST(LendingTest, AStoredChunkComesBackAsItWas) {
  for (const std::size_t strips : {0, 1, 100}) {
    const StoredChunk stored = SomeChunk(strips);
    const std::string bytes = Encode(stored);
    EXPECT_EQ(ParseStoredChunk(bytes).value(), stored);
  }
}

TEST(LendingTest, ARecordThatIsCutIsRefused) {
  const std::string bytes = Encode(SomeChunk(2));
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto parsed = ParseStoredChunk(std::string_view(bytes).substr(0, length));
    ASSERT_FALSE(parsed) << length;
    EXPECT_EQ(parsed.error().code, ErrorCode::kProtocol);
  }
}

TEST(LendingTest, RangesComeBackAsTheyWere) {
  const std::vector<MemoryRange> ranges = {{512, 1024}, {std::uint64_t{1} << 40, 1}};
  EXPECT_EQ(ParseMemoryRanges(EncodeMemoryRanges(ranges)).value(), ranges);
  EXPECT_TRUE(ParseMemoryRanges("").value().empty());
}

TEST(LendingTest, RangesThatCannotBeAreRefused) {
  EXPECT_FALSE(ParseMemoryRanges("fifteen bytes.."));
  const std::array<MemoryRange, 1> empty = {{{1, 0}}};
  EXPECT_FALSE(ParseMemoryRanges(EncodeMemoryRanges(empty)));
  const std::array<MemoryRange, 1> overflows = {{{2, ~std::uint64_t{0}}}};
  EXPECT_FALSE(ParseMemoryRanges(EncodeMemoryRanges(overflows)));
  EXPECT_FALSE(ParseMemoryRanges(std::string(16 * (kMemoryRangesMax + 1), 'x')));
}

TEST(LendingTest, ARequestComesBackAsItWas) {
  const LendRequest lend{
      .owner = ~std::uint64_t{0}, .account = 3, .loan = 17, .bytes = 2 * kMiB, .unit = 98 * kKiB};
  const FrameHeader header = EncodeLend(5, lend);
  EXPECT_EQ(header.request, 5U);
  EXPECT_EQ(DecodeLend(header).value(), lend);
  LendRequest none = lend;
  none.account = kLendAccounts;
  EXPECT_FALSE(DecodeLend(EncodeLend(5, none)));
}

TEST(LendingTest, RingsLieBehindTheChunksAndApart) {
  const std::uint64_t chunks = 4 * kMiB + 123;
  std::vector<std::byte> memory(MemoryBytesWithRings(chunks));
  const std::byte* free = memory.data() + chunks;
  for (std::uint16_t account = 0; account < kLendAccounts; ++account) {
    const auto ring = LendRing(memory, account);
    EXPECT_GE(ring.data(), free);
    EXPECT_EQ(ring.size(), kLendRingBytes);
    free = ring.data() + ring.size();
  }
  EXPECT_LE(free, memory.data() + memory.size());
}

}  // namespace
}  // namespace infinicache::wire
