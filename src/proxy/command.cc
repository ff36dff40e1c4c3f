#include "proxy/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>

#include "proxy/handlers.h"

namespace infinicache::proxy {
namespace {

constexpr std::size_t kNameBytesMax = 32;  // longer than every command's name

char Lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::unordered_map<std::string_view, std::size_t> IndexCommands() {
  std::unordered_map<std::string_view, std::size_t> index;
  for (std::size_t i = 0; i < Commands().size(); ++i) index.emplace(Commands()[i].name, i);
  return index;
}

}  // namespace

std::optional<std::size_t> FindCommand(std::string_view name) {
  static const auto* const index = new auto(IndexCommands());
  if (name.size() > kNameBytesMax) return std::nullopt;
  std::array<char, kNameBytesMax> lower;
  std::transform(name.begin(), name.end(), lower.begin(), Lower);
  const auto found = index->find(std::string_view(lower.data(), name.size()));
  if (found == index->end()) return std::nullopt;
  return found->second;
}

std::string RespErrorFor(const Error& error) {
  switch (error.code) {
    case ErrorCode::kOutOfMemory:
      return "OOM command not allowed when used memory > 'maxmemory'.";
    case ErrorCode::kTooLarge:
      return "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    case ErrorCode::kUnavailable:
    case ErrorCode::kDeadlineExceeded:
      return "TRYAGAIN " + error.message;
    default:
      return "ERR " + error.message;
  }
}

bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return Lower(x) == Lower(y); });
}

std::optional<std::int64_t> ParseInteger(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  // Redis takes the shortest form only: no leading zeros, no "-0".
  if (fmt::format_int(value).size() != text.size()) return std::nullopt;
  return value;
}

const Subcommand* FindSubcommand(Call& call, std::string_view command,
                                 std::span<const Subcommand> subcommands) {
  const auto found = std::find_if(subcommands.begin(), subcommands.end(), [&](const auto& row) {
    return EqualsIgnoreCase(row.name, call[1]);
  });
  if (found == subcommands.end()) {
    std::string upper(command);
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    call.reply.Error(
        fmt::format("ERR unknown subcommand '{}'. Try {} HELP.", call[1].substr(0, 128), upper));
    return nullptr;
  }
  const int count = static_cast<int>(call.size());
  if (found->arity >= 0 ? count != found->arity : count < -found->arity) {
    call.reply.Error(
        fmt::format("ERR wrong number of arguments for '{}|{}' command", command, found->name));
    return nullptr;
  }
  return &*found;
}

}  // namespace infinicache::proxy
