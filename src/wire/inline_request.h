// Splits an inline request ("SET greeting \"hello world\"") into its arguments, by the quoting
// rules of redis-cli and of Redis' own inline protocol:
//
//   bare        ends at a space, tab, CR or LF; a quote within it begins a quoted part, which ends
//               the argument: a"b c" is "ab c"
//   "double"    \n \r \t \b \a, \xHH (two hex digits) and \c for any other c
//   'single'    \' only
//
// Behind a closing quote only white space or the end may follow. A NUL is a byte like any other.
//
// Thread-safety: one user. The tokenizer borrows `line`. Cost: linear, no allocation.
#pragma once

#include <cstddef>
#include <string_view>

namespace infinicache::wire {

class InlineTokenizer {
 public:
  enum class Token { kArgument, kEnd, kUnbalancedQuotes };

  // `line` is without its line end.
  explicit InlineTokenizer(std::string_view line) : rest_(line) {}

  // Writes the next argument to out[0, bytes). REQUIRES: room for as many bytes as are left of the
  // line: an argument is never longer than what it was written as. After kEnd and
  // kUnbalancedQuotes the tokenizer is used up.
  Token Next(char* out, std::size_t& bytes);

 private:
  Token DoubleQuoted(char* out, std::size_t& bytes);
  Token SingleQuoted(char* out, std::size_t& bytes);
  Token ClosingQuote();

  std::string_view rest_;
};

}  // namespace infinicache::wire
