#include "proxy/command.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <limits>
#include <set>
#include <string>

namespace infinicache::proxy {
namespace {

TEST(CommandTable, NamesAreLowerCaseAndUnique) {
  std::set<std::string_view> names;
  for (const CommandSpec& spec : Commands()) {
    EXPECT_FALSE(spec.name.empty());
    EXPECT_TRUE(std::ranges::all_of(spec.name, [](char c) { return c >= 'a' && c <= 'z'; }))
        << spec.name;
    EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
  }
}

TEST(CommandTable, EachRowHasExactlyOneHandlerAndItsDocs) {
  for (const CommandSpec& spec : Commands()) {
    SCOPED_TRACE(spec.name);
    EXPECT_NE(spec.now == nullptr, spec.later == nullptr);
    EXPECT_FALSE(spec.summary.empty());
    EXPECT_EQ(spec.summary.back(), '.');
    EXPECT_FALSE(spec.complexity.empty());
    EXPECT_EQ(std::ranges::count(spec.since, '.'), 2);
    EXPECT_TRUE((std::set<std::string_view>{"string", "generic", "connection", "server"}.contains(
        spec.group)));
    EXPECT_FALSE((spec.flags & kWrite) != 0 && (spec.flags & kReadOnly) != 0);
    EXPECT_TRUE((spec.flags & kDenyOom) == 0 || (spec.flags & kWrite) != 0);
  }
}

TEST(CommandTable, KeyPositionsLieWithinTheArity) {
  for (const CommandSpec& spec : Commands()) {
    SCOPED_TRACE(spec.name);
    ASSERT_NE(spec.arity, 0);
    if (spec.first_key == 0) {
      EXPECT_EQ(spec.last_key, 0);
      EXPECT_EQ(spec.key_step, 0);
      continue;
    }
    EXPECT_GE(spec.key_step, 1);
    EXPECT_LT(spec.first_key, std::abs(spec.arity)) << "the first key is always there";
    if (spec.last_key < 0) {
      EXPECT_LT(spec.arity, 0) << "up to the last argument of a call of any length";
    } else {
      EXPECT_GE(spec.last_key, spec.first_key);
      EXPECT_LT(spec.last_key, std::abs(spec.arity));
    }
  }
}

TEST(CommandTable, ValuePositionsLieBehindTheirKeys) {
  for (const CommandSpec& spec : Commands()) {
    SCOPED_TRACE(spec.name);
    if (spec.first_value == 0) {
      EXPECT_EQ(spec.value_step, 0);
      EXPECT_EQ(spec.value_key_distance, 0);
      EXPECT_EQ(spec.flags & kDenyOom, 0U) << "only what takes a value needs room";
      continue;
    }
    EXPECT_NE(spec.flags & kWrite, 0U);
    EXPECT_NE(spec.later, nullptr);
    EXPECT_LT(spec.first_value, std::abs(spec.arity));
    EXPECT_GE(spec.value_key_distance, 1);
    EXPECT_EQ(spec.first_value - spec.value_key_distance, spec.first_key);
    EXPECT_EQ(spec.value_step, spec.last_key < 0 ? spec.key_step : 0);
  }
}

TEST(FindCommand, IgnoresCaseAndFindsEveryRow) {
  for (std::size_t i = 0; i < Commands().size(); ++i) {
    std::string name(Commands()[i].name);
    EXPECT_EQ(FindCommand(name), i);
    for (std::size_t at = 0; at < name.size(); at += 2)
      name[at] = static_cast<char>(std::toupper(name[at]));
    EXPECT_EQ(FindCommand(name), i) << name;
  }
  EXPECT_FALSE(FindCommand(""));
  EXPECT_FALSE(FindCommand("ge"));
  EXPECT_FALSE(FindCommand("gett"));
  EXPECT_FALSE(FindCommand(std::string_view("get\0", 4)));
  EXPECT_FALSE(FindCommand(std::string(32, 'g')));
  EXPECT_FALSE(FindCommand(std::string(100'000, 'g')));
}

TEST(ParseInteger, TakesTheShortestFormOfA64BitIntegerOnly) {
  constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
  constexpr auto kMin = std::numeric_limits<std::int64_t>::min();
  for (const std::int64_t number : {std::int64_t{0}, std::int64_t{1}, std::int64_t{-1}, kMax, kMin})
    EXPECT_EQ(ParseInteger(std::to_string(number)), number);
  for (const char* text :
       {"", "-", "+1", " 1", "1 ", "01", "-0", "-01", "00", "1x", "0x1", "1e3", "1.0",
        "9223372036854775808", "-9223372036854775809", "99999999999999999999999"}) {
    EXPECT_FALSE(ParseInteger(text)) << text;
  }
  EXPECT_FALSE(ParseInteger(std::string_view("1\0", 2)));
}

TEST(EqualsIgnoreCase, ComparesAllOfBoth) {
  EXPECT_TRUE(EqualsIgnoreCase("KeepTtl", "keepttl"));
  EXPECT_FALSE(EqualsIgnoreCase("keepttl", "keepttlx"));
  EXPECT_FALSE(EqualsIgnoreCase("nx", "n"));
  EXPECT_FALSE(EqualsIgnoreCase("[", "{")) << "only letters have a case";
}

TEST(RespErrorFor, GivesEachErrorThePrefixThatClientsKnow) {
  const auto text = [](ErrorCode code) { return RespErrorFor({code, "why"}); };
  EXPECT_EQ(text(ErrorCode::kOutOfMemory),
            "OOM command not allowed when used memory > 'maxmemory'.");
  EXPECT_EQ(text(ErrorCode::kTooLarge),
            "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
  EXPECT_EQ(text(ErrorCode::kUnavailable), "TRYAGAIN why");
  EXPECT_EQ(text(ErrorCode::kDeadlineExceeded), "TRYAGAIN why");
  EXPECT_EQ(text(ErrorCode::kInternal), "ERR why");
  EXPECT_EQ(text(ErrorCode::kCorrupt), "ERR why");
}

}  // namespace
}  // namespace infinicache::proxy
