#include "wire/glob.h"

#include <cstddef>
#include <utility>

namespace infinicache::wire {
namespace {

constexpr unsigned char Fold(unsigned char c, bool ignore_case) {
  return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<unsigned char>(c - 'A' + 'a') : c;
}

// Matches `c` against the bracket expression that starts behind pattern[at - 1] == '['; moves `at`
// behind its end.
bool MatchBracket(std::string_view pattern, std::size_t& at, unsigned char c, bool ignore_case) {
  const bool inverted = at < pattern.size() && pattern[at] == '^';
  if (inverted) ++at;
  const unsigned char folded = Fold(c, ignore_case);
  bool found = false;
  while (at < pattern.size() && pattern[at] != ']') {
    const std::size_t left = pattern.size() - at;
    if (pattern[at] == '\\' && left >= 2) {
      found |= static_cast<unsigned char>(pattern[at + 1]) == c;
      at += 2;
    } else if (left >= 3 && pattern[at + 1] == '-') {
      auto low = static_cast<unsigned char>(pattern[at]);
      auto high = static_cast<unsigned char>(pattern[at + 2]);
      if (low > high) std::swap(low, high);
      found |= folded >= Fold(low, ignore_case) && folded <= Fold(high, ignore_case);
      at += 3;
    } else {
      found |= Fold(static_cast<unsigned char>(pattern[at]), ignore_case) == folded;
      ++at;
    }
  }
  if (at < pattern.size()) ++at;
  return found != inverted;
}

// Matches `c` against the one-byte element at pattern[at], which is not a star; moves `at` behind
// it.
bool MatchOne(std::string_view pattern, std::size_t& at, unsigned char c, bool ignore_case) {
  const char element = pattern[at++];
  if (element == '?') return true;
  if (element == '[') return MatchBracket(pattern, at, c, ignore_case);
  auto literal = static_cast<unsigned char>(element);
  if (element == '\\' && at < pattern.size()) literal = static_cast<unsigned char>(pattern[at++]);
  return Fold(literal, ignore_case) == Fold(c, ignore_case);
}

}  // namespace

bool GlobMatch(std::string_view pattern, std::string_view text, bool ignore_case) {
  std::size_t at = 0;        // in pattern
  std::size_t position = 0;  // in text
  bool star_seen = false;
  std::size_t behind_star = 0;    // in pattern
  std::size_t star_position = 0;  // where in text the part behind the star was last tried
  while (position < text.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star_seen = true;
      behind_star = ++at;
      star_position = position;
      if (behind_star == pattern.size()) return true;
      continue;
    }
    if (at < pattern.size() &&
        MatchOne(pattern, at, static_cast<unsigned char>(text[position]), ignore_case)) {
      ++position;
      continue;
    }
    if (!star_seen) return false;
    at = behind_star;
    position = ++star_position;
  }
  while (at < pattern.size() && pattern[at] == '*') ++at;
  return at == pattern.size();
}

}  // namespace infinicache::wire
