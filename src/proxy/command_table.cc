// The command table. Arity, flags and key positions are those of redis-server 7.0 (COMMAND INFO).

#include <array>

#include "proxy/command.h"
#include "proxy/handlers.h"

namespace infinicache::proxy {
namespace {

constexpr std::uint32_t kConnection = kFast | kNoScript | kLoading | kStale;

// Rows by what they do; a value's position is (first, step, distance to its key).
struct KeyPositions {
  int first = 0;
  int last = 0;
  int step = 0;
};
struct ValuePositions {
  int first = 0;
  int step = 0;
  int key_distance = 0;
};
constexpr KeyPositions kNoKeys{};
constexpr KeyPositions kOneKey{1, 1, 1};
constexpr KeyPositions kAllKeys{1, -1, 1};

struct Docs {
  std::string_view group;
  std::string_view since;
  std::string_view complexity;
  std::string_view summary;
};

constexpr CommandSpec Now(std::string_view name, void (*handler)(Call&), int arity,
                          std::uint32_t flags, KeyPositions keys, Docs docs) {
  return {name, handler, nullptr, arity,      flags,      keys.first,      keys.last,   keys.step,
          0,    0,       0,       docs.group, docs.since, docs.complexity, docs.summary};
}

constexpr CommandSpec Later(std::string_view name, net::Task<> (*handler)(Call&), int arity,
                            std::uint32_t flags, KeyPositions keys, ValuePositions values,
                            Docs docs) {
  return {name,
          nullptr,
          handler,
          arity,
          flags,
          keys.first,
          keys.last,
          keys.step,
          values.first,
          values.step,
          values.key_distance,
          docs.group,
          docs.since,
          docs.complexity,
          docs.summary};
}

constexpr std::string_view kPerByte = "O(N) where N is the length of the value.";
constexpr std::string_view kConstant = "O(1)";

constexpr std::uint32_t kStore = kWrite | kDenyOom;

constexpr auto kCommands = std::to_array<CommandSpec>({
    // --- Strings ---
    Later("set", Set, -3, kStore, kOneKey, {2, 0, 1},
          {"string", "1.0.0", kPerByte, "Sets the value of a key."}),
    Later("get", Get, 2, kReadOnly | kFast, kOneKey, {},
          {"string", "1.0.0", kPerByte, "Returns the value of a key."}),
    Later("getrange", GetRange, 4, kReadOnly, kOneKey, {},
          {"string", "2.4.0", "O(N) where N is the length of the range.",
           "Returns the bytes from start to end of a value; reads only the stripes they lie in."}),
    Later("getdel", GetDel, 2, kWrite | kFast, kOneKey, {},
          {"string", "6.2.0", kPerByte, "Returns the value of a key and deletes it."}),
    Later("getset", GetSet, 3, kStore | kFast, kOneKey, {2, 0, 1},
          {"string", "1.0.0", kPerByte, "Sets the value of a key and returns the previous one."}),
    Later("setnx", SetNx, 3, kStore | kFast, kOneKey, {2, 0, 1},
          {"string", "1.0.0", kPerByte, "Sets the value of a key that does not exist."}),
    Later("setex", SetEx, 4, kStore, kOneKey, {3, 0, 2},
          {"string", "2.0.0", kPerByte, "Sets the value of a key and its life in seconds."}),
    Later("psetex", PSetEx, 4, kStore, kOneKey, {3, 0, 2},
          {"string", "2.6.0", kPerByte, "Sets the value of a key and its life in milliseconds."}),
    Later("mget", MGet, -2, kReadOnly | kFast, kAllKeys, {},
          {"string", "1.0.0", "O(N) where N is the length of all values.",
           "Returns the values of several keys."}),
    Later("mset", MSet, -3, kStore, {1, -1, 2}, {2, 2, 1},
          {"string", "1.0.1", "O(N) where N is the length of all values.",
           "Sets the values of several keys."}),
    Now("strlen", StrLen, 2, kReadOnly | kFast, kOneKey,
        {"string", "2.2.0", kConstant, "Returns the length of a value."}),

    // --- Keys ---
    Later("del", Del, -2, kWrite, kAllKeys, {},
          {"generic", "1.0.0", "O(N) where N is the number of keys.",
           "Deletes keys; their memory is freed in the background."}),
    Later("unlink", Del, -2, kWrite | kFast, kAllKeys, {},
          {"generic", "4.0.0", "O(N) where N is the number of keys.",
           "Deletes keys; their memory is freed in the background."}),
    Now("exists", Exists, -2, kReadOnly | kFast, kAllKeys,
        {"generic", "1.0.0", "O(N) where N is the number of keys.",
         "Counts those of the keys that exist."}),
    Now("ttl", Ttl, 2, kReadOnly | kFast, kOneKey,
        {"generic", "1.0.0", kConstant, "Returns the seconds that a key has left."}),
    Now("pttl", PTtl, 2, kReadOnly | kFast, kOneKey,
        {"generic", "2.6.0", kConstant, "Returns the milliseconds that a key has left."}),
    Now("expiretime", ExpireTime, 2, kReadOnly | kFast, kOneKey,
        {"generic", "7.0.0", kConstant, "Returns when a key expires, in Unix seconds."}),
    Now("pexpiretime", PExpireTime, 2, kReadOnly | kFast, kOneKey,
        {"generic", "7.0.0", kConstant, "Returns when a key expires, in Unix milliseconds."}),
    Later("expire", Expire, -3, kWrite | kFast, kOneKey, {},
          {"generic", "1.0.0", kConstant, "Sets the life of a key in seconds."}),
    Later("pexpire", PExpire, -3, kWrite | kFast, kOneKey, {},
          {"generic", "2.6.0", kConstant, "Sets the life of a key in milliseconds."}),
    Later("expireat", ExpireAt, -3, kWrite | kFast, kOneKey, {},
          {"generic", "1.2.0", kConstant, "Sets when a key expires, in Unix seconds."}),
    Later("pexpireat", PExpireAt, -3, kWrite | kFast, kOneKey, {},
          {"generic", "2.6.0", kConstant, "Sets when a key expires, in Unix milliseconds."}),
    Now("persist", Persist, 2, kWrite | kFast, kOneKey,
        {"generic", "2.2.0", kConstant, "Takes a key's expiry away."}),
    Now("type", Type, 2, kReadOnly | kFast, kOneKey,
        {"generic", "1.0.0", kConstant, "Returns the type of a value: string, or none."}),
    Now("scan", Scan, -2, kReadOnly, kNoKeys,
        {"generic", "2.8.0", "O(1) per call, O(N) for all keys.", "Iterates over the keys."}),
    Now("keys", Keys, 2, kReadOnly, kNoKeys,
        {"generic", "1.0.0", "O(N) where N is the number of all keys.",
         "Returns the keys that match a pattern. Prefer SCAN."}),

    // --- Connection ---
    Now("ping", Ping, -1, kFast, kNoKeys,
        {"connection", "1.0.0", kConstant, "Answers PONG, or the message."}),
    Now("echo", Echo, 2, kFast | kLoading | kStale, kNoKeys,
        {"connection", "1.0.0", kConstant, "Returns the message."}),
    Now("hello", Hello, -1, kConnection | kNoAuth, kNoKeys,
        {"connection", "6.0.0", kConstant, "Chooses the protocol version, and authenticates."}),
    Now("auth", Auth, -2, kConnection | kNoAuth, kNoKeys,
        {"connection", "1.0.0", kConstant, "Authenticates the connection."}),
    Now("select", Select, 2, kFast | kLoading | kStale, kNoKeys,
        {"connection", "1.0.0", kConstant, "Selects a database; there is one, 0."}),
    Now("quit", Quit, -1, kConnection | kNoAuth, kNoKeys,
        {"connection", "1.0.0", kConstant, "Closes the connection."}),
    Now("reset", Reset, 1, kConnection | kNoAuth, kNoKeys,
        {"connection", "6.2.0", kConstant, "Gives the connection the state of a new one."}),
    Later("client", Client, -2, kNoScript | kLoading | kStale, kNoKeys, {},
          {"connection", "2.4.0", "O(N) where N is the number of clients.",
           "Tells about client connections."}),

    // --- Server ---
    Now("command", Command, -1, kLoading | kStale, kNoKeys,
        {"server", "2.8.13", "O(N) where N is the number of commands.",
         "Tells about the commands."}),
    Now("info", Info, -1, kLoading | kStale, kNoKeys,
        {"server", "1.0.0", kConstant, "Tells about the server, by section."}),
    Now("config", Config, -2, kAdmin | kNoScript | kLoading | kStale, kNoKeys,
        {"server", "2.0.0", "O(N) where N is the number of settings.", "Shows settings."}),
    Now("dbsize", DbSize, 1, kReadOnly | kFast, kNoKeys,
        {"server", "1.0.0", kConstant, "Returns the number of keys."}),
    Later("flushall", FlushAll, -1, kWrite, kNoKeys, {},
          {"server", "1.0.0", "O(N) where N is the number of keys.", "Deletes all keys."}),
    Later("flushdb", FlushAll, -1, kWrite, kNoKeys, {},
          {"server", "1.0.0", "O(N) where N is the number of keys.", "Deletes all keys."}),
    Now("time", Time, 1, kFast | kLoading | kStale, kNoKeys,
        {"server", "2.6.0", kConstant, "Returns the server's Unix time."}),
    Now("shutdown", Shutdown, -1, kAdmin | kNoScript | kLoading | kStale, kNoKeys,
        {"server", "1.0.0", kConstant, "Stops the server and its nodes; all objects are gone."}),
});

}  // namespace

std::span<const CommandSpec> Commands() {
  return kCommands;
}

}  // namespace infinicache::proxy
