#include "base/bytes.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <string_view>

namespace infinicache {
namespace {

std::uint64_t Parsed(std::string_view text) {
  const Result<std::uint64_t> size = ParseByteSize(text);
  EXPECT_TRUE(size.has_value()) << "'" << text << "'";
  return size.value_or(~std::uint64_t{0});
}

TEST(ParseByteSize, ReadsPlainNumbersAsBytes) {
  EXPECT_EQ(Parsed("0"), 0U);
  EXPECT_EQ(Parsed("1536"), 1536U);
  EXPECT_EQ(Parsed("17 B"), 17U);
}

TEST(ParseByteSize, ReadsBinaryUnitsAndBareLettersAsPowersOf1024) {
  EXPECT_EQ(Parsed("512MiB"), 512 * kMiB);
  EXPECT_EQ(Parsed("512M"), 512 * kMiB);
  EXPECT_EQ(Parsed("64k"), 64 * kKiB);
  EXPECT_EQ(Parsed("2GiB"), 2 * kGiB);
  EXPECT_EQ(Parsed("1T"), 1024 * kGiB);
}

TEST(ParseByteSize, ReadsDecimalUnitsAsPowersOf1000) {
  EXPECT_EQ(Parsed("10 KB"), 10'000U);
  EXPECT_EQ(Parsed("3MB"), 3'000'000U);
  EXPECT_EQ(Parsed("1GB"), 1'000'000'000U);
  EXPECT_EQ(Parsed("2TB"), 2'000'000'000'000U);
}

TEST(ParseByteSize, ReadsFractionsAndAnyCase) {
  EXPECT_EQ(Parsed("1.5GiB"), 3 * kGiB / 2);
  EXPECT_EQ(Parsed("1.5gib"), 3 * kGiB / 2);
  EXPECT_EQ(Parsed("0.5 kB"), 500U);
}

TEST(ParseByteSize, RefusesWhatIsNotASizeAndSaysWhatIsWanted) {
  for (std::string_view text : {"", "MiB", "-1", "1.5.5", "12 parsecs", "1e3", "0x10", "nan", "inf",
                                "1 MiB 2", " 5", "99999999999 TiB"}) {
    const Result<std::uint64_t> size = ParseByteSize(text);
    ASSERT_FALSE(size.has_value()) << "'" << text << "' was read as " << *size;
    EXPECT_EQ(size.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(size.error().message.find("'" + std::string(text) + "'"), std::string::npos);
    EXPECT_NE(size.error().message.find("512MiB"), std::string::npos) << "no example";
  }
}

TEST(FormatByteSize, WritesThreeDigitsInBinaryUnits) {
  EXPECT_EQ(FormatByteSize(0), "0 B");
  EXPECT_EQ(FormatByteSize(17), "17 B");
  EXPECT_EQ(FormatByteSize(1023), "1023 B");
  EXPECT_EQ(FormatByteSize(1024), "1 KiB");
  EXPECT_EQ(FormatByteSize(512 * kMiB), "512 MiB");
  EXPECT_EQ(FormatByteSize(3 * kGiB / 2), "1.5 GiB");
  EXPECT_EQ(FormatByteSize(1234 * kKiB), "1.21 MiB");
  EXPECT_EQ(FormatByteSize(45 * kMiB + 700 * kKiB), "45.7 MiB");
  EXPECT_EQ(FormatByteSize(5000 * 1024 * kGiB), "5000 TiB");
}

RC_GTEST_PROP(FormatByteSize, IsReadBackWithinItsPrecision, (std::uint64_t any)) {
  const std::uint64_t bytes = any % (1000 * 1024 * kGiB);
  const auto read = static_cast<double>(Parsed(FormatByteSize(bytes)));
  RC_ASSERT(read >= static_cast<double>(bytes) * 0.995 - 1);
  RC_ASSERT(read <= static_cast<double>(bytes) * 1.005 + 1);
}

TEST(Rounding, RoundUpAndDivideUpReachTheNextMultiple) {
  EXPECT_EQ(RoundUp(0, 64), 0U);
  EXPECT_EQ(RoundUp(1, 64), 64U);
  EXPECT_EQ(RoundUp(64, 64), 64U);
  EXPECT_EQ(RoundUp(65, 64), 128U);
  EXPECT_EQ(RoundUp(10, 3), 12U);
  EXPECT_EQ(DivideUp(0, 10), 0U);
  EXPECT_EQ(DivideUp(1, 10), 1U);
  EXPECT_EQ(DivideUp(10, 10), 1U);
  EXPECT_EQ(DivideUp(11, 10), 2U);
}

}  // namespace
}  // namespace infinicache
