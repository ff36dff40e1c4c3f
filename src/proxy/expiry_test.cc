#include "proxy/expiry.h"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <string>

namespace infinicache::proxy {
namespace {

constexpr WallMillis kNow = 1'700'000'000'000;
constexpr ExpiryUnit kSeconds{std::chrono::seconds(1), false};
constexpr ExpiryUnit kMillis{std::chrono::milliseconds(1), false};
constexpr ExpiryUnit kUnixSeconds{std::chrono::seconds(1), true};

TEST(Expiry, UnitsAreReadInAnyCase) {
  EXPECT_EQ(ParseExpiryUnit("ex")->unit.count(), 1000);
  EXPECT_FALSE(ParseExpiryUnit("eX")->absolute);
  EXPECT_EQ(ParseExpiryUnit("PX")->unit.count(), 1);
  EXPECT_TRUE(ParseExpiryUnit("ExAt")->absolute);
  EXPECT_TRUE(ParseExpiryUnit("pxat")->absolute);
  EXPECT_EQ(ParseExpiryUnit("pxat")->unit.count(), 1);
  EXPECT_FALSE(ParseExpiryUnit("nx"));
  EXPECT_FALSE(ParseExpiryUnit(""));
}

TEST(Expiry, CountsFromNowOrFromTheEpoch) {
  EXPECT_EQ(*ParseExpiry("10", kSeconds, kNow, "set"), kNow + 10'000);
  EXPECT_EQ(*ParseExpiry("10", kMillis, kNow, "set"), kNow + 10);
  EXPECT_EQ(*ParseExpiry("10", kUnixSeconds, kNow, "set"), 10'000);
}

TEST(Expiry, WhatOverflowsIsAnErrorAndWhatJustFitsIsNot) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  const auto fails = [](std::int64_t number, ExpiryUnit unit, bool positive_only = true) {
    const auto when = ParseExpiry(std::to_string(number), unit, kNow, "set", positive_only);
    return !when && when.error().message == "ERR invalid expire time in 'set' command";
  };
  EXPECT_TRUE(fails(kMax, kSeconds));
  EXPECT_TRUE(fails(kMax / 1000, kSeconds));
  EXPECT_TRUE(fails(kMax / 1000 + 1, kUnixSeconds));
  EXPECT_FALSE(fails(kMax / 1000, kUnixSeconds));
  EXPECT_TRUE(fails(kMax, kMillis));
  EXPECT_TRUE(fails(kMax - kNow + 1, kMillis));
  EXPECT_FALSE(fails(kMax - kNow, kMillis));
  EXPECT_TRUE(fails(-kMax, kSeconds, false));
  EXPECT_FALSE(fails(-kMax, kMillis, false));
}

TEST(Expiry, ZeroAndLessAreErrorsOrLongPast) {
  EXPECT_FALSE(ParseExpiry("0", kSeconds, kNow, "set"));
  EXPECT_FALSE(ParseExpiry("-1", kSeconds, kNow, "set"));
  EXPECT_EQ(*ParseExpiry("-1", kSeconds, kNow, "expire", false), kNow - 1000);
  EXPECT_EQ(*ParseExpiry("0", kUnixSeconds, kNow, "expireat", false), 1) << "0 would be never";
  EXPECT_EQ(*ParseExpiry("-99", kUnixSeconds, kNow, "expireat", false), 1);
}

TEST(Expiry, WhatIsNoIntegerIsToldSo) {
  for (const char* text : {"", "x", "1.5", "1 ", "99999999999999999999"}) {
    const auto when = ParseExpiry(text, kSeconds, kNow, "set");
    ASSERT_FALSE(when) << text;
    EXPECT_EQ(when.error().message, "ERR value is not an integer or out of range");
  }
}

}  // namespace
}  // namespace infinicache::proxy
