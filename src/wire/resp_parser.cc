#include "wire/resp_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "base/check.h"
#include "wire/inline_request.h"

namespace infinicache::wire {
namespace {

constexpr std::size_t kLineBytesMax = 64 * kKiB;  // of inline and of header lines
constexpr std::uint64_t kUnauthenticatedBulkBytesMax = 16384;
constexpr std::int64_t kUnauthenticatedArgumentsMax = 10;

// Storage up to this size is kept for good; more is given back after this many commands in a row
// that used less than a quarter of it.
constexpr std::size_t kStorageBytesKept = 64 * kKiB;
constexpr std::size_t kArgumentsKept = 256;
constexpr std::size_t kLineBytesKept = 1 * kKiB;
constexpr unsigned kSmallCommandsMax = 64;

// A decimal number without leading zeros, blanks or plus sign, as Redis reads lengths.
std::optional<std::int64_t> ParseLength(std::string_view text) {
  const bool negative = text.starts_with('-');
  const std::string_view digits = text.substr(negative ? 1 : 0);
  if (digits.starts_with('0') && (negative || digits.size() > 1)) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

RespParser::Event RespParser::Parse(std::string_view input, std::size_t& consumed) {
  CHECK(state_ != State::kLargeBody, "FinishLargeArgument() was not called");
  if (state_ == State::kDelivered) BeginRequest();
  std::size_t position = 0;
  Event event = Event::kNeedMore;
  bool more = true;
  while (more) {
    switch (state_) {
      case State::kRequest:
        more = position < input.size();
        if (more) state_ = input[position] == '*' ? State::kCount : State::kInline;
        break;
      case State::kInline:
        more = ReadInline(input, position, event);
        break;
      case State::kCount:
        more = ReadCount(input, position, event);
        break;
      case State::kBulkHeader:
        more = ReadBulkHeader(input, position, event);
        break;
      case State::kBulkBody:
        more = ReadBulkBody(input, position);
        break;
      case State::kBulkEnd:
        more = ReadBulkEnd(input, position, event);
        break;
      case State::kLargeBody:
      case State::kDelivered:
        more = false;
        break;
      case State::kFailed:
        event = Event::kError;
        more = false;
        break;
    }
  }
  consumed = position;
  return event;
}

std::uint64_t RespParser::large_argument_bytes() const {
  CHECK(state_ == State::kLargeBody);
  return arguments_.back().large_bytes;
}

void RespParser::FinishLargeArgument() {
  CHECK(state_ == State::kLargeBody);
  bulk_bytes_missing_ = 2;
  state_ = State::kBulkEnd;
}

void RespParser::ReleaseMemory() {
  if (state_ == State::kDelivered) BeginRequest();
  if (state_ == State::kRequest) DropStorage();
}

void RespParser::DropStorage() {
  storage_.reset();
  storage_bytes_ = 0;
  std::vector<Argument>().swap(arguments_);
  std::string().swap(line_);
  small_commands_ = 0;
}

void RespParser::BeginRequest() {
  state_ = State::kRequest;
  const bool big = storage_bytes_ > kStorageBytesKept || arguments_.capacity() > kArgumentsKept;
  const bool used =
      storage_used_ >= storage_bytes_ / 4 && arguments_.size() >= arguments_.capacity() / 4;
  arguments_.clear();
  storage_used_ = 0;
  small_commands_ = big && !used ? small_commands_ + 1 : 0;
  if (small_commands_ > kSmallCommandsMax) DropStorage();
}

bool RespParser::Fail(std::string_view reason, Event& event) {
  error_ = fmt::format("ERR Protocol error: {}", reason);
  state_ = State::kFailed;
  arguments_.clear();
  event = Event::kError;
  return false;
}

// --- Inline requests ----------------------------------------------------------------------------

bool RespParser::ReadInline(std::string_view input, std::size_t& position, Event& event) {
  const std::string_view rest = input.substr(position);
  const std::size_t line_end = std::min(rest.find('\n'), rest.size());
  if (line_.size() + line_end > kLineBytesMax) return Fail("too big inline request", event);
  if (line_end == rest.size()) {
    line_.append(rest);
    position = input.size();
    return false;
  }
  position += line_end + 1;
  if (line_.empty()) return TakeInlineLine(rest.substr(0, line_end), event);
  line_.append(rest, 0, line_end);
  const bool more = TakeInlineLine(line_, event);
  line_.clear();
  if (line_.capacity() > kLineBytesKept) line_.shrink_to_fit();
  return more;
}

bool RespParser::TakeInlineLine(std::string_view line, Event& event) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  ReserveStorage(line.size());
  InlineTokenizer tokenizer(line);
  std::size_t bytes = 0;
  char* out = storage_.get();
  auto token = tokenizer.Next(out, bytes);
  for (; token == InlineTokenizer::Token::kArgument; token = tokenizer.Next(out, bytes)) {
    arguments_.push_back({.bytes = {out, bytes}});
    out += bytes;
  }
  if (token == InlineTokenizer::Token::kUnbalancedQuotes) {
    return Fail("unbalanced quotes in request", event);
  }
  storage_used_ = static_cast<std::size_t>(out - storage_.get());
  if (arguments_.empty()) {
    state_ = State::kRequest;
    return true;
  }
  state_ = State::kDelivered;
  event = Event::kCommand;
  return false;
}

// --- Arrays of bulks ----------------------------------------------------------------------------

// Reads a line up to its CR and the byte behind it, which is not looked at. Returns whether the
// line is complete; `header` is then without the CR and, if the line is longer than any valid one,
// cut off. A line that grows too long is left to the caller: header_bytes_ > kLineBytesMax.
bool RespParser::ReadHeader(std::string_view input, std::size_t& position,
                            std::string_view& header) {
  if (header_bytes_ == 0 && !header_cr_) {
    const std::string_view rest = input.substr(position, kHeaderKept);
    const std::size_t cr = rest.find('\r');
    if (cr != std::string_view::npos && cr + 1 < rest.size()) {
      header = rest.substr(0, cr);
      position += cr + 2;
      return true;
    }
  }
  while (position < input.size()) {
    const char c = input[position++];
    if (header_cr_) {
      header = {header_.data(), std::min(header_bytes_, kHeaderKept)};
      header_bytes_ = 0;
      header_cr_ = false;
      return true;
    }
    if (c == '\r') {
      header_cr_ = true;
      continue;
    }
    if (header_bytes_ < kHeaderKept) header_[header_bytes_] = c;
    if (++header_bytes_ > kLineBytesMax) return false;
  }
  return false;
}

bool RespParser::ReadCount(std::string_view input, std::size_t& position, Event& event) {
  std::string_view header;
  if (!ReadHeader(input, position, header)) {
    return header_bytes_ > kLineBytesMax ? Fail("too big mbulk count string", event) : false;
  }
  const std::optional<std::int64_t> count = ParseLength(header.substr(1));
  if (!count || (*count > 0 && std::cmp_greater(*count, limits_.arguments_max))) {
    return Fail("invalid multibulk length", event);
  }
  if (*count > kUnauthenticatedArgumentsMax && !limits_.authenticated) {
    return Fail("unauthenticated multibulk length", event);
  }
  if (*count <= 0) {
    state_ = State::kRequest;
    return true;
  }
  arguments_missing_ = static_cast<std::size_t>(*count);
  state_ = State::kBulkHeader;
  return true;
}

bool RespParser::ReadBulkHeader(std::string_view input, std::size_t& position, Event& event) {
  std::string_view header;
  if (!ReadHeader(input, position, header)) {
    return header_bytes_ > kLineBytesMax ? Fail("too big bulk count string", event) : false;
  }
  const char type = header.empty() ? '\r' : header.front();
  if (type != '$') {
    // Written as it is, but for what would end the error line.
    const char shown = type == '\r' || type == '\n' ? ' ' : type;
    return Fail(std::string("expected '$', got '").append(1, shown).append("'"), event);
  }
  const std::optional<std::int64_t> length = ParseLength(header.substr(1));
  if (!length || *length < 0 || std::cmp_greater(*length, limits_.bulk_bytes_max)) {
    return Fail("invalid bulk length", event);
  }
  const auto bytes = static_cast<std::uint64_t>(*length);
  if (bytes > kUnauthenticatedBulkBytesMax && !limits_.authenticated) {
    return Fail("unauthenticated bulk length", event);
  }
  if (bytes > limits_.buffered_argument_bytes_max) {
    arguments_.push_back({.bytes = {}, .large = true, .large_bytes = bytes});
    state_ = State::kLargeBody;
    event = Event::kLargeArgument;
    return false;
  }
  if (storage_used_ + bytes > limits_.buffered_command_bytes_max) {
    return Fail(fmt::format("command larger than {} bytes", limits_.buffered_command_bytes_max),
                event);
  }
  const auto size = static_cast<std::size_t>(bytes);
  ReserveStorage(size);
  arguments_.push_back({.bytes = {storage_.get() + storage_used_, size}});
  bulk_bytes_missing_ = bytes;
  state_ = State::kBulkBody;
  return true;
}

bool RespParser::ReadBulkBody(std::string_view input, std::size_t& position) {
  const std::size_t bytes = static_cast<std::size_t>(
      std::min<std::uint64_t>(bulk_bytes_missing_, input.size() - position));
  if (bytes > 0) std::memcpy(storage_.get() + storage_used_, input.data() + position, bytes);
  position += bytes;
  storage_used_ += bytes;
  bulk_bytes_missing_ -= bytes;
  if (bulk_bytes_missing_ > 0) return false;
  bulk_bytes_missing_ = 2;
  state_ = State::kBulkEnd;
  return true;
}

bool RespParser::ReadBulkEnd(std::string_view input, std::size_t& position, Event& event) {
  const std::size_t bytes = static_cast<std::size_t>(
      std::min<std::uint64_t>(bulk_bytes_missing_, input.size() - position));
  position += bytes;
  bulk_bytes_missing_ -= bytes;
  if (bulk_bytes_missing_ > 0) return false;
  if (--arguments_missing_ > 0) {
    state_ = State::kBulkHeader;
    return true;
  }
  state_ = State::kDelivered;
  event = Event::kCommand;
  return false;
}

// Makes room for `bytes` more. Growth moves what is stored, and the arguments that refer to it.
void RespParser::ReserveStorage(std::size_t bytes) {
  const std::size_t needed = storage_used_ + bytes;
  if (needed <= storage_bytes_ && storage_ != nullptr) return;
  const std::size_t doubled = std::min(2 * storage_bytes_, limits_.buffered_command_bytes_max);
  const std::size_t capacity = std::max({needed, doubled, std::size_t{512}});
  auto grown = std::make_unique_for_overwrite<char[]>(capacity);
  if (storage_used_ > 0) std::memcpy(grown.get(), storage_.get(), storage_used_);
  for (Argument& argument : arguments_) {
    if (argument.large) continue;
    argument.bytes = {grown.get() + (argument.bytes.data() - storage_.get()),
                      argument.bytes.size()};
  }
  storage_ = std::move(grown);
  storage_bytes_ = capacity;
}

}  // namespace infinicache::wire
