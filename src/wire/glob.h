// Glob patterns as Redis matches them (KEYS, SCAN MATCH, CONFIG GET, PSUBSCRIBE).
//
//   *       any run of bytes, also none         [abc]   one of these bytes
//   ?       any one byte                        [^abc]  none of these
//   \x      the byte x itself                   [a-z]   a range, either way round
//
// Corner cases follow redis-server 7.0 and are in the tests: "[abc" is closed by the pattern's end,
// "[]" matches nothing and "[^]" any byte, a lone backslash at the end is itself, an escape works
// within brackets. Two differences: bytes above 0x7F compare unsigned in ranges (in Redis it
// depends on the CPU), and a pattern of stars matches the empty text (in Redis only "*" does).
//
// Thread-safety: pure. Cost: O(pattern * text) at worst, whatever the number of stars: matching
// goes back to the last star only, which suffices because what stands between two stars has a fixed
// length. No allocation, no recursion.
#pragma once

#include <string_view>

namespace infinicache::wire {

// Whether `pattern` matches the whole of `text`. `ignore_case` folds ASCII letters, except those
// escaped within brackets (as Redis does).
bool GlobMatch(std::string_view pattern, std::string_view text, bool ignore_case = false);

}  // namespace infinicache::wire
