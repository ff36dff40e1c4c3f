#include "coding/code.h"

#include <gtest/gtest.h>

#include <string>

#include "base/limits.h"

namespace infinicache::coding {
namespace {

TEST(Code, EveryValidCodeSurvivesTextAndBack) {
  for (unsigned data = 1; data <= kCodeWidthMax; ++data) {
    for (unsigned parity = 0; data + parity <= kCodeWidthMax; ++parity) {
      const Code code = {static_cast<std::uint8_t>(data), static_cast<std::uint8_t>(parity)};
      EXPECT_TRUE(IsValid(code));
      const auto parsed = ParseCode(code.ToString());
      ASSERT_TRUE(parsed.has_value()) << code.ToString();
      EXPECT_EQ(*parsed, code);
      EXPECT_EQ(parsed->width(), data + parity);
    }
  }
  EXPECT_EQ((Code{10, 2}).ToString(), "10+2");
}

TEST(Code, InvalidCodesAreKnown) {
  EXPECT_FALSE(IsValid({0, 2}));
  EXPECT_FALSE(IsValid({32, 1}));
  EXPECT_FALSE(IsValid({255, 255}));
}

TEST(ParseCode, RefusesMalformedTextWithAnExample) {
  for (const char* text : {"", "+", "10", "10+", "+2", "10-2", "10 + 2", " 10+2", "10+2 ", "10+2+1",
                           "10+-2", "-10+2", "++", "a+b", "10++2", "0x10+2", "1.5+2"}) {
    const auto parsed = ParseCode(text);
    ASSERT_FALSE(parsed.has_value()) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(parsed.error().message,
              std::string("code \"") + text + "\": expected data+parity chunks, such as \"10+2\"");
  }
}

TEST(ParseCode, NamesTheLimitThatACodeBreaks) {
  EXPECT_EQ(ParseCode("0+2").error().message,
            "code \"0+2\": at least one data chunk is needed, such as \"1+2\"");
  for (const char* text : {"31+2", "32+1", "1+32", "4294967295+4294967295", "99999999999999+2"}) {
    const auto parsed = ParseCode(text);
    ASSERT_FALSE(parsed.has_value()) << text;
    EXPECT_EQ(parsed.error().message, std::string("code \"") + text +
                                          "\": more than 32 chunks; take fewer, such as \"10+2\"");
  }
}

TEST(ChooseCode, StepsAtTheStatedSizes) {
  constexpr Code kFull = {10, 2};
  EXPECT_EQ(ChooseCode(kFull, 0), (Code{1, 2}));
  EXPECT_EQ(ChooseCode(kFull, 128 * kKiB), (Code{1, 2}));
  EXPECT_EQ(ChooseCode(kFull, 128 * kKiB + 1), (Code{4, 2}));
  EXPECT_EQ(ChooseCode(kFull, kMiB), (Code{4, 2}));
  EXPECT_EQ(ChooseCode(kFull, kMiB + 1), kFull);
  EXPECT_EQ(ChooseCode(kFull, 1 * kGiB), kFull);
}

TEST(ChooseCode, KeepsTheParityAndNeverWidensTheCode) {
  for (std::uint8_t data = 1; data <= 20; ++data) {
    for (std::uint8_t parity = 0; parity <= 12; ++parity) {
      std::uint8_t previous = 1;
      for (std::uint64_t bytes = 0; bytes <= 2 * kMiB; bytes += 32 * kKiB) {
        const Code code = ChooseCode({data, parity}, bytes);
        EXPECT_EQ(code.parity, parity);
        EXPECT_LE(code.data, data);
        EXPECT_GE(code.data, previous) << "a larger object must not get a narrower code";
        previous = code.data;
      }
      EXPECT_EQ(previous, data);
    }
  }
}

}  // namespace
}  // namespace infinicache::coding
