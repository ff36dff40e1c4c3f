// The functions that answer commands; the command table (command_table.cc) names them. A handler
// may rely on what its row promises of the call (arity; large arguments only where values are).
#pragma once

#include <span>
#include <string_view>

#include "net/task.h"
#include "proxy/command.h"

namespace infinicache::proxy {

// Strings.
net::Task<> Set(Call& call);
net::Task<> SetNx(Call& call);
net::Task<> SetEx(Call& call);
net::Task<> PSetEx(Call& call);
net::Task<> GetSet(Call& call);
net::Task<> Get(Call& call);
net::Task<> GetDel(Call& call);
net::Task<> GetRange(Call& call);
net::Task<> MGet(Call& call);
net::Task<> MSet(Call& call);
void StrLen(Call& call);

// Keys.
net::Task<> Del(Call& call);
void Exists(Call& call);
void Ttl(Call& call);
void PTtl(Call& call);
void ExpireTime(Call& call);
void PExpireTime(Call& call);
net::Task<> Expire(Call& call);
net::Task<> PExpire(Call& call);
net::Task<> ExpireAt(Call& call);
net::Task<> PExpireAt(Call& call);
void Persist(Call& call);
void Type(Call& call);
void DbSize(Call& call);
void Scan(Call& call);
void Keys(Call& call);
net::Task<> FlushAll(Call& call);

// The connection.
void Ping(Call& call);
void Echo(Call& call);
void Hello(Call& call);
void Auth(Call& call);
void Select(Call& call);
void Quit(Call& call);
void Reset(Call& call);
net::Task<> Client(Call& call);

// The server.
void Command(Call& call);
void Info(Call& call);
void Config(Call& call);
void Time(Call& call);
void Shutdown(Call& call);

// A second word of a command such as CLIENT ID.
struct Subcommand {
  std::string_view name;  // lower case
  int arity;              // of the whole call; -n means at least n
};

// The row of `subcommands` that the call's second word names; answers with Redis's error and
// returns null if there is none, or if the number of arguments does not fit.
const Subcommand* FindSubcommand(Call& call, std::string_view command,
                                 std::span<const Subcommand> subcommands);

}  // namespace infinicache::proxy
