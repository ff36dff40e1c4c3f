// The commands that the RESP front answers, as one declarative table.
//
// A row says how a command is called (arity and key positions as Redis's COMMAND INFO gives them),
// which of its arguments are values that may be too large to buffer, and which function answers.
// Dispatch, arity checks, COMMAND, statistics and metrics all read this table; a new command is a
// new row.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cache/object.h"
#include "net/task.h"
#include "wire/resp_parser.h"
#include "wire/resp_writer.h"

namespace infinicache::cache {
class Worker;
}

namespace infinicache::proxy {

class Server;
class Session;

// One call of a command. Valid until its handler ends.
struct Call {
  Session& session;
  Server& server;
  cache::Worker& worker;
  std::span<const wire::RespParser::Argument> arguments;  // [0] is the command's name as sent
  wire::RespWriter reply;

  std::size_t size() const { return arguments.size(); }
  std::string_view operator[](std::size_t i) const { return arguments[i].bytes; }
};

enum CommandFlag : std::uint32_t {
  kWrite = 1U << 0,
  kReadOnly = 1U << 1,
  kDenyOom = 1U << 2,
  kAdmin = 1U << 3,
  kFast = 1U << 4,
  kNoAuth = 1U << 5,    // allowed before AUTH
  kLoading = 1U << 6,   // allowed while the pool starts
  kStale = 1U << 7,     // as Redis marks it
  kNoScript = 1U << 8,  // as Redis marks it
};

struct CommandSpec {
  std::string_view name;  // lower case
  // Exactly one of the two: `now` answers at once; `later` may wait.
  void (*now)(Call&);
  net::Task<> (*later)(Call&);
  int arity;  // of the whole call, name included; -n means at least n
  std::uint32_t flags;
  int first_key;  // 0: none
  int last_key;   // -1: the last argument
  int key_step;
  // Arguments first_value, first_value + value_step, … are objects' values, streamed when large,
  // whose key is the argument at `value - value_key_distance`. 0: none.
  int first_value;
  int value_step;
  int value_key_distance;
  std::string_view group;       // "string", "generic", "connection", "server"
  std::string_view since;       // Redis version
  std::string_view complexity;  // as COMMAND DOCS shows it
  std::string_view summary;
};

std::span<const CommandSpec> Commands();
// Index in Commands() of `name` in any case, if there is such a command.
std::optional<std::size_t> FindCommand(std::string_view name);

// The RESP error of a failed cache operation.
std::string RespErrorFor(const Error& error);

// For option words: equal but for case.
bool EqualsIgnoreCase(std::string_view a, std::string_view b);
// A decimal integer, all of `text`, as Redis reads it (no blanks, no plus sign).
std::optional<std::int64_t> ParseInteger(std::string_view text);

inline constexpr std::string_view kSyntaxError = "ERR syntax error";
inline constexpr std::string_view kNotAnInteger = "ERR value is not an integer or out of range";

}  // namespace infinicache::proxy
