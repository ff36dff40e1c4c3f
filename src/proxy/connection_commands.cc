#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "net/crypto.h"
#include "proxy/handlers.h"
#include "proxy/redis_version.h"
#include "proxy/session.h"

namespace infinicache::proxy {
namespace {

constexpr std::string_view kDefaultUser = "default";
constexpr std::string_view kWrongPassword =
    "WRONGPASS invalid username-password pair or user is disabled.";

// Errors: the reply.
Status Authenticate(Call& call, std::string_view user, std::string_view password) {
  const std::string& expected = call.server.options().password;
  // Without a password the default user may say anything, as in Redis.
  const bool right =
      user == kDefaultUser && (expected.empty() || net::EqualInConstantTime(password, expected));
  if (!right) return Fail(ErrorCode::kUnauthenticated, std::string(kWrongPassword));
  call.session.set_authenticated(true);
  return {};
}

bool IsPlainName(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](char c) { return c >= '!' && c <= '~'; });
}

void ReplyHello(Call& call) {
  wire::RespWriter reply(call.session.output(), call.session.protocol);
  reply.Map(7);
  reply.Bulk("server");
  reply.Bulk("redis");
  reply.Bulk("version");
  reply.Bulk(kRedisVersion);
  reply.Bulk("proto");
  reply.Integer(call.session.protocol);
  reply.Bulk("id");
  reply.Integer(static_cast<std::int64_t>(call.session.id()));
  reply.Bulk("mode");
  reply.Bulk("standalone");
  reply.Bulk("role");
  reply.Bulk("master");
  reply.Bulk("modules");
  reply.Array(0);
}

constexpr auto kClientSubcommands = std::to_array<Subcommand>({
    {"getname", 2},
    {"help", 2},
    {"id", 2},
    {"info", 2},
    {"list", -2},
    {"setinfo", 4},
    {"setname", 3},
});

void SetName(Call& call) {
  if (!IsPlainName(call[2]))
    return call.reply.Error(
        "ERR Client names cannot contain spaces, newlines or special characters.");
  call.session.identity.name = call[2];
  call.reply.Simple("OK");
}

void SetInfo(Call& call) {
  const bool is_name = EqualsIgnoreCase(call[2], "lib-name");
  if (!is_name && !EqualsIgnoreCase(call[2], "lib-ver"))
    return call.reply.Error(fmt::format("ERR Unrecognized option '{}'", call[2]));
  if (!IsPlainName(call[3]))
    return call.reply.Error(
        fmt::format("ERR {} cannot contain spaces, newlines or special characters.",
                    is_name ? "lib-name" : "lib-ver"));
  (is_name ? call.session.identity.library_name : call.session.identity.library_version) = call[3];
  call.reply.Simple("OK");
}

net::Task<> List(Call& call) {
  // TYPE narrows the list; all of ours are normal clients.
  bool any = call.size() == 2;
  if (call.size() == 4 && EqualsIgnoreCase(call[2], "type")) {
    any = EqualsIgnoreCase(call[3], "normal");
    constexpr std::array<std::string_view, 4> kOthers = {"master", "replica", "slave", "pubsub"};
    const bool known = any || std::any_of(kOthers.begin(), kOthers.end(), [&](auto other) {
                         return EqualsIgnoreCase(call[3], other);
                       });
    if (!known) co_return call.reply.Error(fmt::format("ERR Unknown client type '{}'", call[3]));
  } else if (!any) {
    co_return call.reply.Error(kSyntaxError);
  }
  std::string text;
  if (any) {
    for (const std::string& line : co_await call.server.DescribeClients(call.worker.loop()))
      text += line + '\n';
  }
  call.reply.Verbatim("txt", text);
}

void ClientHelp(Call& call) {
  constexpr std::array<std::string_view, 8> kLines = {
      "CLIENT <subcommand> [<arg> ...]. Subcommands are:",
      "GETNAME -- the connection's name.",
      "ID -- the connection's number.",
      "INFO -- the connection, as in LIST.",
      "LIST [TYPE normal] -- all connections, one per line.",
      "SETINFO <LIB-NAME|LIB-VER> <value> -- tells the client library.",
      "SETNAME <name> -- names the connection.",
      "HELP -- this text."};
  call.reply.Array(kLines.size());
  for (std::string_view line : kLines) call.reply.Simple(line);
}

}  // namespace

void Ping(Call& call) {
  if (call.size() > 2) return call.reply.Error("ERR wrong number of arguments for 'ping' command");
  if (call.size() == 2) return call.reply.Bulk(call[1]);
  call.reply.Simple("PONG");
}

void Echo(Call& call) {
  call.reply.Bulk(call[1]);
}

void Hello(Call& call) {
  int protocol = call.session.protocol;
  if (call.size() > 1) {
    const auto version = ParseInteger(call[1]);
    if (!version) return call.reply.Error("ERR Protocol version is not an integer or out of range");
    if (*version != 2 && *version != 3)
      return call.reply.Error("NOPROTO unsupported protocol version");
    protocol = static_cast<int>(*version);
  }
  std::string_view name;
  bool has_name = false;
  for (std::size_t i = 2; i < call.size(); ++i) {
    const std::size_t left = call.size() - i - 1;
    if (EqualsIgnoreCase(call[i], "auth") && left >= 2) {
      if (auto status = Authenticate(call, call[i + 1], call[i + 2]); !status)
        return call.reply.Error(status.error().message);
      i += 2;
    } else if (EqualsIgnoreCase(call[i], "setname") && left >= 1) {
      name = call[++i];
      has_name = true;
      if (!IsPlainName(name))
        return call.reply.Error(
            "ERR Client names cannot contain spaces, newlines or special characters.");
    } else {
      return call.reply.Error(fmt::format("ERR Syntax error in HELLO option '{}'", call[i]));
    }
  }
  if (!call.session.authenticated)
    return call.reply.Error(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
        "<proto> AUTH <user> <pass> option can be used to authenticate the client and select the "
        "RESP protocol version at the same time");
  if (has_name) call.session.identity.name = name;
  call.session.protocol = protocol;
  ReplyHello(call);
}

void Auth(Call& call) {
  if (call.size() > 3) return call.reply.Error(kSyntaxError);
  if (call.size() == 2 && call.server.options().password.empty())
    return call.reply.Error(
        "ERR AUTH <password> called without any password configured for the default user. Are you "
        "sure your configuration is correct?");
  const auto status = call.size() == 2 ? Authenticate(call, kDefaultUser, call[1])
                                       : Authenticate(call, call[1], call[2]);
  if (!status) return call.reply.Error(status.error().message);
  call.reply.Simple("OK");
}

void Select(Call& call) {
  const auto index = ParseInteger(call[1]);
  if (!index) return call.reply.Error(kNotAnInteger);
  using Index = std::numeric_limits<std::int32_t>;
  if (*index < Index::min() || *index > Index::max())
    return call.reply.Error(fmt::format("ERR value is out of range, value must between {} and {}",
                                        Index::min(), Index::max()));
  if (*index != 0) return call.reply.Error("ERR DB index is out of range");
  call.reply.Simple("OK");
}

void Quit(Call& call) {
  call.reply.Simple("OK");
  call.session.CloseAfterReply();
}

void Reset(Call& call) {
  call.session.identity.name.clear();
  call.session.protocol = 2;
  call.session.set_authenticated(call.server.options().password.empty());
  call.reply.Simple("RESET");
}

net::Task<> Client(Call& call) {
  const Subcommand* subcommand = FindSubcommand(call, "client", kClientSubcommands);
  if (subcommand == nullptr) co_return;
  const std::string_view name = subcommand->name;
  if (name == "id") {
    call.reply.Integer(static_cast<std::int64_t>(call.session.id()));
  } else if (name == "getname") {
    const std::string& own = call.session.identity.name;
    own.empty() ? call.reply.Null() : call.reply.Bulk(own);
  } else if (name == "setname") {
    SetName(call);
  } else if (name == "setinfo") {
    SetInfo(call);
  } else if (name == "info") {
    call.reply.Verbatim("txt", call.session.Describe() + '\n');
  } else if (name == "list") {
    co_await List(call);
  } else {
    ClientHelp(call);
  }
}

}  // namespace infinicache::proxy
