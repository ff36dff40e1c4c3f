#include "coding/crc32c.h"

#include <cpuid.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "base/random.h"

namespace infinicache::coding {
namespace {

// Bit by bit, from the definition.
std::uint32_t SlowCrc32c(std::span<const std::byte> bytes) {
  std::uint32_t state = 0xFFFFFFFF;
  for (const std::byte byte : bytes) {
    state ^= std::to_integer<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) state = (state >> 1) ^ ((state & 1) ? 0x82F63B78 : 0);
  }
  return ~state;
}

std::vector<std::byte> RandomBytes(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::byte> bytes(count);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

TEST(Crc32c, GivesTheCheckValueOfTheStandard) {
  constexpr std::string_view kText = "123456789";
  EXPECT_EQ(Crc32c(std::as_bytes(std::span(kText))), 0xE3069283U);
}

// RFC 3720, appendix B.4.
TEST(Crc32c, GivesTheExamplesOfRfc3720) {
  std::vector<std::byte> bytes(32);
  EXPECT_EQ(Crc32c(bytes), 0x8A9136AAU);
  std::fill(bytes.begin(), bytes.end(), std::byte{0xFF});
  EXPECT_EQ(Crc32c(bytes), 0x62A8AB43U);
  for (std::size_t i = 0; i < 32; ++i) bytes[i] = static_cast<std::byte>(i);
  EXPECT_EQ(Crc32c(bytes), 0x46DD794EU);
  for (std::size_t i = 0; i < 32; ++i) bytes[i] = static_cast<std::byte>(31 - i);
  EXPECT_EQ(Crc32c(bytes), 0x113FDB5CU);
  constexpr std::uint8_t kReadCommand[48] = {
      0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
      0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
      0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18, 0x28, 0x00, 0x00, 0x00,
      0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
  EXPECT_EQ(Crc32c(std::as_bytes(std::span(kReadCommand))), 0xD9963A56U);
}

TEST(Crc32c, OfNothingIsTheSeed) {
  EXPECT_EQ(Crc32c({}), 0U);
  EXPECT_EQ(Crc32c({}, 0x12345678), 0x12345678U);
}

// The library switches methods by length and alignment; both pass every boundary.
TEST(Crc32c, MatchesTheDefinitionForEveryLengthAndAlignment) {
  const auto bytes = RandomBytes(3000, 1);
  for (std::size_t length = 0; length <= 2900; ++length) {
    const auto part = std::span(bytes).subspan(length % 64, length);
    ASSERT_EQ(Crc32c(part), SlowCrc32c(part)) << length << " bytes";
  }
}

// Whether upper halves of vector registers are in use, as the processor sees it; nothing if it does
// not tell (XGETBV with ECX = 1, Intel SDM volume 1, 13.3).
std::optional<bool> UpperHalvesInUse() {
  constexpr unsigned kFromOsxsave = 1U << 27;
  constexpr unsigned kTellsUse = 1U << 2;
  constexpr unsigned kUpperHalves = 1U << 2 | 1U << 6;  // of YMM, of ZMM
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kFromOsxsave) == 0) return std::nullopt;
  if (__get_cpuid_count(0xD, 1, &a, &b, &c, &d) == 0 || (a & kTellsUse) == 0) return std::nullopt;
  asm volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(1));
  return (a & kUpperHalves) != 0;
}

// All SSE code behind it would be slow.
TEST(Crc32c, LeavesNoUpperHalvesOfRegistersInUse) {
  const auto bytes = RandomBytes(100'000, 1);
  Crc32c(bytes);
  const std::optional<bool> in_use = UpperHalvesInUse();
  if (!in_use) GTEST_SKIP() << "this processor does not tell";
  EXPECT_FALSE(*in_use);
}

RC_GTEST_PROP(Crc32cProperty, AnySplitGivesTheSame, ()) {
  const auto length = *rc::gen::inRange<std::size_t>(0, 200'000);
  const auto first = *rc::gen::inRange<std::size_t>(0, length + 1);
  const auto second = *rc::gen::inRange<std::size_t>(first, length + 1);
  const auto bytes = RandomBytes(length, *rc::gen::arbitrary<std::uint64_t>());
  const auto all = std::span(bytes);
  std::uint32_t crc = Crc32c(all.first(first));
  crc = Crc32c(all.subspan(first, second - first), crc);
  crc = Crc32c(all.subspan(second), crc);
  RC_ASSERT(crc == SlowCrc32c(bytes));
}

}  // namespace
}  // namespace infinicache::coding
