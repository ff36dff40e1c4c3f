#include "wire/inline_request.h"

namespace infinicache::wire {
namespace {

constexpr bool IsSpace(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// Vertical tab and form feed separate arguments only before one begins, as in Redis.
constexpr bool EndsBareArgument(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// The value of a hex digit, or -1.
constexpr int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr char Unescape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'a':
      return '\a';
    default:
      return c;
  }
}

}  // namespace

InlineTokenizer::Token InlineTokenizer::Next(char* out, std::size_t& bytes) {
  bytes = 0;
  while (!rest_.empty() && IsSpace(rest_.front())) rest_.remove_prefix(1);
  if (rest_.empty()) return Token::kEnd;
  while (!rest_.empty() && !EndsBareArgument(rest_.front())) {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    if (c == '"') return DoubleQuoted(out, bytes);
    if (c == '\'') return SingleQuoted(out, bytes);
    out[bytes++] = c;
  }
  return Token::kArgument;
}

InlineTokenizer::Token InlineTokenizer::DoubleQuoted(char* out, std::size_t& bytes) {
  while (!rest_.empty()) {
    const char c = rest_.front();
    if (c == '"') return ClosingQuote();
    if (c != '\\' || rest_.size() < 2) {
      out[bytes++] = c;
      rest_.remove_prefix(1);
      continue;
    }
    const int high = rest_[1] == 'x' && rest_.size() >= 4 ? HexDigit(rest_[2]) : -1;
    const int low = high >= 0 ? HexDigit(rest_[3]) : -1;
    if (low >= 0) {
      out[bytes++] = static_cast<char>(high * 16 + low);
      rest_.remove_prefix(4);
    } else {
      out[bytes++] = Unescape(rest_[1]);
      rest_.remove_prefix(2);
    }
  }
  return Token::kUnbalancedQuotes;
}

InlineTokenizer::Token InlineTokenizer::SingleQuoted(char* out, std::size_t& bytes) {
  while (!rest_.empty()) {
    if (rest_.front() == '\'') return ClosingQuote();
    if (rest_.starts_with("\\'")) rest_.remove_prefix(1);
    out[bytes++] = rest_.front();
    rest_.remove_prefix(1);
  }
  return Token::kUnbalancedQuotes;
}

InlineTokenizer::Token InlineTokenizer::ClosingQuote() {
  rest_.remove_prefix(1);
  return rest_.empty() || IsSpace(rest_.front()) ? Token::kArgument : Token::kUnbalancedQuotes;
}

}  // namespace infinicache::wire
