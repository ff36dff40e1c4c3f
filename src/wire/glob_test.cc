#include "wire/glob.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>

namespace infinicache::wire {
namespace {

// Properties are checked from a fixed seed unless the environment asks for another.
[[maybe_unused]] const int kSeedIsSet = setenv("RC_PARAMS", "seed=20240611", 0);

struct Case {
  std::string_view pattern;
  std::string_view text;
  bool matches;
};

// Answers of redis-server 7.0.15 to KEYS and SCAN MATCH with the text as the only key.
constexpr Case kRedisCases[] = {
    {"*", "", true},          {"?", "", false},         {"a*", "", false},
    {"a*", "a", true},        {"a**", "a", true},       {"***a", "bba", true},
    {"*a*b*", "xaxbx", true}, {"[", "[", false},        {"[", "x", false},
    {"[^", "x", true},        {"[]", "x", false},       {"[]", "]", false},
    {"[^]", "x", true},       {"[a-]", "a", true},      {"[a-]", "-", false},
    {"[a-]", "Z", false},     {"[a-]", "^", true},      {"[c-a]", "b", true},
    {"[abc", "b", true},      {"[abc", "d", false},     {"a\\", "a\\", true},
    {"\\", "\\", true},       {"\\*", "*", true},       {"\\*", "a", false},
    {"[\\]]", "]", true},     {"[\\a]", "a", true},     {"[a\\-z]", "-", true},
    {"[a\\-z]", "m", false},  {"a[^b]c", "abc", false}, {"a[^b]c", "axc", true},
    {"[\\", "\\", true},      {"[-a]", "-", true},      {"[a-c-e]", "d", false},
    {"[a-c-e]", "-", true},   {"h\\?", "h?", true},     {"[^a-c]", "d", true},
    {"[!a]", "!", true},      {"[!a]", "b", false},
};

TEST(GlobMatch, AgreesWithRedis) {
  for (const Case& c : kRedisCases) {
    EXPECT_EQ(GlobMatch(c.pattern, c.text), c.matches) << c.pattern << " on '" << c.text << "'";
  }
}

TEST(GlobMatch, MatchesTheWholeText) {
  EXPECT_TRUE(GlobMatch("layer:*:sha256", "layer:42:sha256"));
  EXPECT_FALSE(GlobMatch("layer:*:sha256", "layer:42:sha256x"));
  EXPECT_FALSE(GlobMatch("ayer", "layer"));
  EXPECT_TRUE(GlobMatch("", ""));
  EXPECT_FALSE(GlobMatch("", "a"));
  EXPECT_TRUE(GlobMatch("**", ""));
}

TEST(GlobMatch, BytesAreBytes) {
  using namespace std::string_view_literals;
  EXPECT_TRUE(GlobMatch("a?b"sv, "a\0b"sv));
  EXPECT_TRUE(GlobMatch("\0*"sv, "\0x"sv));
  EXPECT_TRUE(GlobMatch("[\x01-\xff]", "\x80"));
  EXPECT_FALSE(GlobMatch("?", "\xc3\xa4"));
}

TEST(GlobMatch, CanIgnoreCase) {
  EXPECT_TRUE(GlobMatch("MaxMemory*", "maxmemory-policy", true));
  EXPECT_FALSE(GlobMatch("MaxMemory*", "maxmemory-policy"));
  EXPECT_TRUE(GlobMatch("[A-C]x", "bX", true));
  EXPECT_TRUE(GlobMatch("[abc]", "B", true));
  EXPECT_FALSE(GlobMatch("[^abc]", "B", true));
}

// A matcher that goes back to every star needs more than the age of the universe for this.
TEST(GlobMatch, TimeDoesNotExplodeWithTheStars) {
  std::string pattern;
  for (int i = 0; i < 50; ++i) pattern += "a*";
  pattern += "b";
  const std::string text(20000, 'a');
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(GlobMatch(pattern, text));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

// The definition, by recursion on the first element of the pattern; brackets only as "[^c]".
bool NaiveMatch(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') {
    return NaiveMatch(pattern.substr(1), text) ||
           (!text.empty() && NaiveMatch(pattern, text.substr(1)));
  }
  if (text.empty()) return false;
  if (pattern[0] == '[') {
    return pattern[2] != text[0] && NaiveMatch(pattern.substr(4), text.substr(1));
  }
  return (pattern[0] == '?' || pattern[0] == text[0]) &&
         NaiveMatch(pattern.substr(1), text.substr(1));
}

RC_GTEST_PROP(GlobMatchProperty, AgreesWithTheDefinition, ()) {
  const auto parts = *rc::gen::container<std::vector<std::string>>(
      *rc::gen::inRange(0, 8), rc::gen::element<std::string>("a", "b", "?", "*", "*", "[^a]"));
  const auto text =
      *rc::gen::container<std::string>(*rc::gen::inRange(0, 10), rc::gen::element('a', 'b', 'c'));
  std::string pattern;
  for (const std::string& part : parts) pattern += part;
  RC_ASSERT(GlobMatch(pattern, text) == NaiveMatch(pattern, text));
}

RC_GTEST_PROP(GlobMatchProperty, AnEscapedTextMatchesItselfOnly, ()) {
  const auto text = *rc::gen::arbitrary<std::string>();
  const auto other = *rc::gen::arbitrary<std::string>();
  std::string pattern;
  for (const char c : text) (pattern += '\\') += c;
  RC_ASSERT(GlobMatch(pattern, text));
  RC_ASSERT(GlobMatch(pattern, other) == (text == other));
}

}  // namespace
}  // namespace infinicache::wire
