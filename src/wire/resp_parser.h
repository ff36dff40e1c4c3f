// Parser of what Redis clients send: RESP arrays of bulk strings, and inline commands (telnet,
// `redis-cli --pipe`). Sans I/O: the connection hands in whatever bytes have arrived, cut anywhere,
// and gets complete commands.
//
//   while (true) {
//     std::size_t consumed = 0;
//     const auto event = parser.Parse(buffer, consumed);
//     buffer.remove_prefix(consumed);
//     if (event == Event::kNeedMore) break;                     // buffer is empty now: read
//     if (event == Event::kCommand) Run(parser.arguments());
//     if (event == Event::kLargeArgument) { … }                 // see below
//     if (event == Event::kError) { Reply(parser.error()); Close(); }
//   }
//
// Large arguments are not buffered. A bulk above Limits::buffered_argument_bytes_max is announced
// (kLargeArgument) when its header has been read: the caller looks at the arguments before it,
// takes the next large_argument_bytes() bytes of the stream itself (what is left in its buffer,
// then the socket), calls FinishLargeArgument() and goes on parsing with what follows. A command
// may have several.
//
// Behaviour and error texts are those of redis-server 7.0, checked against it: lengths are strict
// decimal numbers, `*0`, `*-1` and blank inline lines are no commands and skipped, and the two
// bytes that end a line or a bulk are skipped without a look at them (except that the first one of
// a line is a CR). A difference: limits hold for any cut of the stream, where Redis accepts an
// inline line above 64 KiB if it arrives in one read. Another: a NUL in a line is a byte like any
// other.
//
// Thread-safety: one user. Ownership: each buffered argument is copied once, into storage that the
// parser keeps between commands; in the steady state nothing is allocated. Memory: at most
// buffered_command_bytes_max + 192 KiB + 64 bytes per argument (twice that while storage grows);
// what was needed for a rare big command is given back after some smaller ones, or by
// ReleaseMemory().
// Cost: about 20 ns per argument and the copy. Protocol:
// https://redis.io/docs/reference/protocol-spec
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace infinicache::wire {

class RespParser {
 public:
  struct Limits {
    // A larger bulk is announced as large.
    std::size_t buffered_argument_bytes_max = 64 * kKiB;
    // "proto-max-bulk-len"; a larger bulk is an error. Applies to large arguments as well.
    std::uint64_t bulk_bytes_max = 512 * kMiB;
    std::size_t arguments_max = 1024 * 1024;
    // All buffered arguments of one command together; more is an error.
    std::size_t buffered_command_bytes_max = 64 * kMiB;
    // false: bulks <= 16384 bytes and <= 10 arguments, so that strangers cannot take memory.
    bool authenticated = true;
  };

  enum class Event {
    kNeedMore,       // all of the input is consumed and no command is complete
    kCommand,        // arguments() has a whole command
    kLargeArgument,  // the stream continues with large_argument_bytes() bytes for the caller
    kError,          // error() says why; final: close the connection
  };

  struct Argument {
    std::string_view bytes;  // empty if large
    bool large = false;
    std::uint64_t large_bytes = 0;
  };

  explicit RespParser(const Limits& limits) : limits_(limits) {}
  RespParser(const RespParser&) = delete;
  RespParser& operator=(const RespParser&) = delete;

  // Reads on in the stream, whose next bytes are `input`, up to the next event. `consumed` is how
  // many of them are done with; call again with the rest.
  // REQUIRES: after kLargeArgument, FinishLargeArgument() first.
  Event Parse(std::string_view input, std::size_t& consumed);

  // After kCommand: all arguments, at least one. After kLargeArgument: those so far, the last one
  // being the large one. Valid until the next Parse() or ReleaseMemory().
  std::span<const Argument> arguments() const { return arguments_; }

  // REQUIRES: the last event was kLargeArgument.
  std::uint64_t large_argument_bytes() const;

  // The caller has taken exactly large_argument_bytes() bytes of the stream; the next Parse()
  // begins with the CRLF behind them. REQUIRES: the last event was kLargeArgument.
  void FinishLargeArgument();

  // The RESP error for the client, without the '-' ("ERR Protocol error: invalid bulk length").
  // Empty before kError.
  const std::string& error() const { return error_; }

  // Holds for every length that is read from now on, also those of a command under way.
  void set_limits(const Limits& limits) { limits_ = limits; }
  const Limits& limits() const { return limits_; }

  // Storage held, in bytes.
  std::size_t memory_bytes() const {
    return storage_bytes_ + arguments_.capacity() * sizeof(Argument) + line_.capacity();
  }

  // Gives back all storage unless a command is under way; for connections that fall idle. Ends the
  // validity of arguments().
  void ReleaseMemory();

 private:
  enum class State {
    kRequest,     // before the first byte of a request
    kInline,      // in an inline line
    kCount,       // in "*<count>"
    kBulkHeader,  // in "$<length>"
    kBulkBody,    // in a buffered bulk
    kLargeBody,   // in a large one, which the caller takes
    kBulkEnd,     // in the two bytes behind a bulk
    kDelivered,   // a command was handed out and is still referred to
    kFailed,
  };

  // Longer than any valid header line, so that a cut-off one stays invalid.
  static constexpr std::size_t kHeaderKept = 32;

  void BeginRequest();
  bool ReadInline(std::string_view input, std::size_t& position, Event& event);
  bool TakeInlineLine(std::string_view line, Event& event);
  bool ReadHeader(std::string_view input, std::size_t& position, std::string_view& header);
  bool ReadCount(std::string_view input, std::size_t& position, Event& event);
  bool ReadBulkHeader(std::string_view input, std::size_t& position, Event& event);
  bool ReadBulkBody(std::string_view input, std::size_t& position);
  bool ReadBulkEnd(std::string_view input, std::size_t& position, Event& event);
  bool Fail(std::string_view reason, Event& event);
  void ReserveStorage(std::size_t bytes);
  void DropStorage();

  Limits limits_;
  State state_ = State::kRequest;

  // A header line that arrived in pieces: its first bytes, how many it has, whether its CR is in.
  std::array<char, kHeaderKept> header_{};
  std::size_t header_bytes_ = 0;
  bool header_cr_ = false;

  std::string line_;                      // an inline line that arrived in pieces
  std::size_t arguments_missing_ = 0;     // of the array under way
  std::uint64_t bulk_bytes_missing_ = 0;  // of the bulk under way; in kBulkEnd: of its line end

  std::vector<Argument> arguments_;
  std::unique_ptr<char[]> storage_;  // the arguments' bytes, one behind the other
  std::size_t storage_used_ = 0;
  std::size_t storage_bytes_ = 0;
  unsigned small_commands_ = 0;  // in a row that left most of the storage unused
  std::string error_;
};

}  // namespace infinicache::wire
