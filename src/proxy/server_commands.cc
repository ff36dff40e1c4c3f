#include <fmt/format.h>

#include <array>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "proxy/handlers.h"
#include "proxy/info.h"
#include "proxy/session.h"
#include "wire/glob.h"

namespace infinicache::proxy {
namespace {

struct FlagName {
  std::uint32_t flag;
  std::string_view name;
};
constexpr auto kFlagNames = std::to_array<FlagName>({
    {kWrite, "write"},
    {kReadOnly, "readonly"},
    {kDenyOom, "denyoom"},
    {kAdmin, "admin"},
    {kNoScript, "noscript"},
    {kLoading, "loading"},
    {kStale, "stale"},
    {kFast, "fast"},
    {kNoAuth, "no_auth"},
});

std::vector<std::string> AclCategories(const CommandSpec& spec) {
  std::vector<std::string> categories;
  if (spec.group == "generic") categories.emplace_back("@keyspace");
  if (spec.group == "string" || spec.group == "connection")
    categories.push_back(fmt::format("@{}", spec.group));
  if ((spec.flags & kReadOnly) != 0) categories.emplace_back("@read");
  if ((spec.flags & kWrite) != 0) categories.emplace_back("@write");
  if ((spec.flags & kAdmin) != 0) {
    categories.emplace_back("@admin");
    categories.emplace_back("@dangerous");
  }
  categories.emplace_back((spec.flags & kFast) != 0 ? "@fast" : "@slow");
  return categories;
}

void ReplyFlags(Call& call, const CommandSpec& spec) {
  std::vector<std::string_view> names;
  for (const FlagName& row : kFlagNames) {
    if ((spec.flags & row.flag) != 0) names.push_back(row.name);
  }
  call.reply.Set(names.size());
  for (std::string_view name : names) call.reply.Simple(name);
}

// One element of COMMAND INFO, as Redis 7 has it: ten fields, of which tips, key specifications and
// subcommands are empty.
void ReplyCommandInfo(Call& call, const CommandSpec& spec) {
  call.reply.Array(10);
  call.reply.Bulk(spec.name);
  call.reply.Integer(spec.arity);
  ReplyFlags(call, spec);
  call.reply.Integer(spec.first_key);
  call.reply.Integer(spec.last_key);
  call.reply.Integer(spec.key_step);
  const std::vector<std::string> categories = AclCategories(spec);
  call.reply.Set(categories.size());
  for (const std::string& category : categories) call.reply.Simple(category);
  for (int i = 0; i < 3; ++i) call.reply.Array(0);
}

void ReplyCommandDocs(Call& call, const CommandSpec& spec) {
  call.reply.Bulk(spec.name);
  call.reply.Map(4);
  call.reply.Bulk("summary");
  call.reply.Bulk(spec.summary);
  call.reply.Bulk("since");
  call.reply.Bulk(spec.since);
  call.reply.Bulk("group");
  call.reply.Bulk(spec.group);
  call.reply.Bulk("complexity");
  call.reply.Bulk(spec.complexity);
}

const CommandSpec* SpecOf(std::string_view name) {
  const auto index = FindCommand(name);
  return index ? &Commands()[*index] : nullptr;
}

void CommandInfo(Call& call) {
  if (call.size() == 2) {
    call.reply.Array(Commands().size());
    for (const CommandSpec& spec : Commands()) ReplyCommandInfo(call, spec);
    return;
  }
  call.reply.Array(call.size() - 2);
  for (std::size_t i = 2; i < call.size(); ++i) {
    const CommandSpec* spec = SpecOf(call[i]);
    spec == nullptr ? call.reply.Null() : ReplyCommandInfo(call, *spec);
  }
}

void CommandDocs(Call& call) {
  std::vector<const CommandSpec*> specs;
  for (std::size_t i = 2; i < call.size(); ++i) {
    if (const CommandSpec* spec = SpecOf(call[i]); spec != nullptr) specs.push_back(spec);
  }
  if (call.size() == 2) {
    for (const CommandSpec& spec : Commands()) specs.push_back(&spec);
  }
  call.reply.Map(specs.size());
  for (const CommandSpec* spec : specs) ReplyCommandDocs(call, *spec);
}

void CommandGetKeys(Call& call) {
  const CommandSpec* spec = SpecOf(call[2]);
  if (spec == nullptr) return call.reply.Error("ERR Invalid command specified");
  const int count = static_cast<int>(call.size()) - 2;
  if (spec->arity >= 0 ? count != spec->arity : count < -spec->arity)
    return call.reply.Error("ERR Invalid number of arguments specified for command");
  if (spec->first_key == 0) return call.reply.Error("ERR The command has no key arguments");
  const int last = spec->last_key < 0 ? count + spec->last_key : spec->last_key;
  std::vector<std::string_view> keys;
  for (int i = spec->first_key; i <= last; i += spec->key_step)
    keys.push_back(call[static_cast<std::size_t>(i) + 2]);
  call.reply.Array(keys.size());
  for (std::string_view key : keys) call.reply.Bulk(key);
}

void CommandList(Call& call) {
  call.reply.Set(Commands().size());
  for (const CommandSpec& spec : Commands()) call.reply.Bulk(spec.name);
}

constexpr auto kCommandSubcommands = std::to_array<Subcommand>({
    {"count", 2},
    {"docs", -2},
    {"getkeys", -4},
    {"info", -2},
    {"list", 2},
});

constexpr auto kConfigSubcommands = std::to_array<Subcommand>({{"get", -3}, {"set", -4}});

}  // namespace

void Command(Call& call) {
  if (call.size() == 1) {
    call.reply.Array(Commands().size());
    for (const CommandSpec& spec : Commands()) ReplyCommandInfo(call, spec);
    return;
  }
  const Subcommand* subcommand = FindSubcommand(call, "command", kCommandSubcommands);
  if (subcommand == nullptr) return;
  const std::string_view name = subcommand->name;
  if (name == "count") {
    call.reply.Integer(static_cast<std::int64_t>(Commands().size()));
  } else if (name == "info") {
    CommandInfo(call);
  } else if (name == "docs") {
    CommandDocs(call);
  } else if (name == "getkeys") {
    CommandGetKeys(call);
  } else {
    CommandList(call);
  }
}

void Info(Call& call) {
  std::vector<std::string_view> sections;
  for (std::size_t i = 1; i < call.size(); ++i) sections.push_back(call[i]);
  call.reply.Verbatim("txt", DescribeServer(call.server, sections));
}

void Config(Call& call) {
  const Subcommand* subcommand = FindSubcommand(call, "config", kConfigSubcommands);
  if (subcommand == nullptr) return;
  if (subcommand->name == "set")
    return call.reply.Error(fmt::format(
        "ERR CONFIG SET failed (possibly related to argument '{}') - settings are given at start, "
        "by flag, environment or file",
        call[2]));
  std::vector<std::pair<std::string, std::string>> found;
  if (call.server.options().config) {
    for (auto& setting : call.server.options().config()) {
      for (std::size_t i = 2; i < call.size(); ++i) {
        if (!wire::GlobMatch(call[i], setting.first, /*ignore_case=*/true)) continue;
        found.push_back(std::move(setting));
        break;
      }
    }
  }
  call.reply.Map(found.size());
  for (const auto& [name, value] : found) {
    call.reply.Bulk(name);
    call.reply.Bulk(value);
  }
}

void Time(Call& call) {
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  call.reply.Array(2);
  call.reply.Bulk(std::to_string(now / 1'000'000));
  call.reply.Bulk(std::to_string(now % 1'000'000));
}

void Shutdown(Call& call) {
  const auto has = [&](std::string_view mode) {
    for (std::size_t i = 1; i < call.size(); ++i) {
      if (EqualsIgnoreCase(call[i], mode)) return true;
    }
    return false;
  };
  constexpr std::array<std::string_view, 5> kModes = {"nosave", "save", "now", "force", "abort"};
  for (std::size_t i = 1; i < call.size(); ++i) {
    const bool known = std::any_of(kModes.begin(), kModes.end(),
                                   [&](auto mode) { return EqualsIgnoreCase(call[i], mode); });
    if (!known) return call.reply.Error(kSyntaxError);
  }
  if ((has("save") && has("nosave")) || (has("abort") && call.size() > 2))
    return call.reply.Error(kSyntaxError);
  if (has("abort")) return call.reply.Error("ERR No shutdown in progress.");
  // As in Redis, the end of the connection is the answer.
  call.server.Shutdown();
  call.session.CloseAfterReply();
}

}  // namespace infinicache::proxy
