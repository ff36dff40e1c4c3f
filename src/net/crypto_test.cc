#include "net/crypto.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <set>
#include <span>
#include <string>
#include <string_view>

namespace infinicache::net {
namespace {

std::string Hex(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const std::byte byte : bytes) {
    hex += kDigits[std::to_integer<std::size_t>(byte >> 4)];
    hex += kDigits[std::to_integer<std::size_t>(byte & std::byte{15})];
  }
  return hex;
}

// RFC 4231, section 4; test case 5 is of truncated output and does not apply.
TEST(HmacSha256, GivesTheValuesOfRfc4231) {
  struct Case {
    std::string key;
    std::string message;
    std::string_view digest;
  };
  std::string counting;
  for (char byte = 1; byte <= 25; ++byte) counting += byte;
  const Case cases[] = {
      {std::string(20, '\x0b'), "Hi There",
       "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
      {"Jefe", "what do ya want for nothing?",
       "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
      {std::string(20, '\xaa'), std::string(50, '\xdd'),
       "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
      {counting, std::string(50, '\xcd'),
       "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
      {std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First",
       "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
      {std::string(131, '\xaa'),
       "This is a test using a larger than block-size key and a larger than block-size data. The "
       "key needs to be hashed before being used by the HMAC algorithm.",
       "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
  };
  for (const Case& c : cases) EXPECT_EQ(Hex(HmacSha256(c.key, c.message)), c.digest);
}

TEST(HmacSha256, TakesAnEmptyKeyAndAnEmptyMessage) {
  EXPECT_EQ(Hex(HmacSha256("", "")),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
  EXPECT_EQ(HmacSha256({}, {}), HmacSha256("", ""));
}

TEST(EqualInConstantTime, ComparesLengthAndEveryByte) {
  const std::string_view pairs[][2] = {
      {"", ""},
      {"secret", "secret"},
      {"secret", "Secret"},
      {"secret", "secreT"},
      {"secret", "secre"},
      {"secret", ""},
  };
  for (const auto& [a, b] : pairs) {
    EXPECT_EQ(EqualInConstantTime(a, b), a == b) << a << " and " << b;
    EXPECT_EQ(EqualInConstantTime(std::as_bytes(std::span(a)), std::as_bytes(std::span(b))), a == b)
        << a << " and " << b;
  }
}

TEST(RandomBytes, FillsAllAndDoesNotRepeat) {
  std::set<std::array<std::byte, 16>> seen;
  std::array<int, 16> zeros{};
  for (int i = 0; i < 1000; ++i) {
    std::array<std::byte, 16> bytes{};
    RandomBytes(bytes);
    EXPECT_TRUE(seen.insert(bytes).second);
    for (std::size_t at = 0; at < bytes.size(); ++at) zeros[at] += bytes[at] == std::byte{0};
  }
  // About 4 of 1000; a byte that is never written would be 1000 times zero.
  for (const int count : zeros) EXPECT_LT(count, 100);
  RandomBytes({});
}

TEST(RandomHex, HasTwoLowerCaseDigitsPerByte) {
  EXPECT_EQ(RandomHex(0), "");
  const std::string text = RandomHex(32);
  EXPECT_EQ(text.size(), 64U);
  EXPECT_EQ(text.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(text, RandomHex(32));
}

}  // namespace
}  // namespace infinicache::net
