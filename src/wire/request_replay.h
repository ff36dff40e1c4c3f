// Test support: feeds a byte stream to a RespParser in pieces, plays the part of the connection for
// large arguments, and records what came out. Tests and fuzz targets compare the records of
// different cuts of one stream. The parser's promises to its caller are CHECKed on the way.
//
// Thread-safety: one user.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "wire/resp_parser.h"

namespace infinicache::wire {

class RequestReplay {
 public:
  using Command = std::vector<std::string>;

  explicit RequestReplay(const RespParser::Limits& limits) : parser_(limits) {}

  void Feed(std::string_view piece) {
    while (error_.empty()) {
      if (in_large_argument_ && !TakePayload(piece)) return;
      std::size_t consumed = 0;
      const RespParser::Event event = parser_.Parse(piece, consumed);
      CHECK(consumed <= piece.size());
      piece.remove_prefix(consumed);
      if (event == RespParser::Event::kNeedMore) {
        CHECK(piece.empty(), "input left over");
        return;
      }
      CHECK(consumed > 0 || event == RespParser::Event::kError, "no progress");
      Record(event);
    }
  }

  const std::vector<Command>& commands() const { return commands_; }
  const std::string& error() const { return error_; }
  // Large payloads so far, those of unfinished commands too.
  const std::vector<std::string>& payloads() const { return payloads_; }
  RespParser& parser() { return parser_; }

 private:
  // Moves the large argument's bytes out of `piece`; returns whether it is complete.
  bool TakePayload(std::string_view& piece) {
    const auto bytes = static_cast<std::size_t>(
        std::min<std::uint64_t>(piece.size(), parser_.large_argument_bytes() - taken_bytes_));
    payloads_.back().append(piece.substr(0, bytes));
    taken_bytes_ += bytes;
    piece.remove_prefix(bytes);
    if (taken_bytes_ < parser_.large_argument_bytes()) return false;
    in_large_argument_ = false;
    parser_.FinishLargeArgument();
    return true;
  }

  void Record(RespParser::Event event) {
    if (event == RespParser::Event::kError) {
      error_ = parser_.error();
      CHECK(error_.starts_with("ERR Protocol error: "));
      return;
    }
    const auto arguments = parser_.arguments();
    CHECK(!arguments.empty());
    if (event == RespParser::Event::kLargeArgument) {
      CHECK(arguments.back().large);
      CHECK(arguments.back().large_bytes == parser_.large_argument_bytes());
      payloads_.emplace_back();
      taken_bytes_ = 0;
      in_large_argument_ = true;
      return;
    }
    Command command;
    for (const RespParser::Argument& argument : arguments) {
      if (argument.large) {
        CHECK(argument.bytes.empty());
        command.push_back(payloads_[next_payload_++]);
        CHECK(command.back().size() == argument.large_bytes);
      } else {
        command.emplace_back(argument.bytes);
      }
    }
    commands_.push_back(std::move(command));
  }

  RespParser parser_;
  std::vector<Command> commands_;
  std::vector<std::string> payloads_;
  std::size_t next_payload_ = 0;  // the first one that is not in commands_ yet
  std::uint64_t taken_bytes_ = 0;
  bool in_large_argument_ = false;
  std::string error_;
};

}  // namespace infinicache::wire
