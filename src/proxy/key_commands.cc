#include <fmt/format.h>

#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "cache/retire.h"
#include "proxy/expiry.h"
#include "proxy/handlers.h"
#include "proxy/session.h"
#include "wire/glob.h"
#include "wire/inventory.h"

namespace infinicache::proxy {
namespace {

using cache::Directory;
using cache::ObjectRecord;
using cache::ObjectRef;

constexpr std::int64_t kNoKey = -2;
constexpr std::int64_t kNoExpiry = -1;
constexpr std::size_t kScanCountDefault = 10;
// Bounds one SCAN's work and reply, however large COUNT is.
constexpr std::size_t kScanCountMax = 100'000;

Directory& DirectoryOf(Call& call) {
  return call.worker.shared().directory;
}

// Answers with `value(expiry)` for a key that has one.
template <typename Value>
void ReplyExpiry(Call& call, Value value) {
  const ObjectRef object = DirectoryOf(call).Find(call[1]);
  if (object == nullptr) return call.reply.Integer(kNoKey);
  const WallMillis when = object->expires_at();
  call.reply.Integer(when == ObjectRecord::kNever ? kNoExpiry : value(when));
}

WallMillis MillisLeft(Call& call, WallMillis when) {
  return std::max<WallMillis>(when - call.worker.shared().clock.WallNow(), 0);
}

struct ExpireCondition {
  bool if_none = false;     // NX
  bool if_some = false;     // XX
  bool if_later = false;    // GT
  bool if_earlier = false;  // LT

  // Whether an expiry at `when` may replace `current`; no expiry counts as an infinite one.
  bool Allows(WallMillis current, WallMillis when) const {
    const bool none = current == ObjectRecord::kNever;
    if (if_none && !none) return false;
    if (if_some && none) return false;
    if (if_later && (none || when <= current)) return false;
    return !if_earlier || none || when < current;
  }
};

// Error: the reply.
Result<ExpireCondition> ParseExpireCondition(Call& call) {
  ExpireCondition condition;
  for (std::size_t i = 3; i < call.size(); ++i) {
    if (EqualsIgnoreCase(call[i], "nx")) {
      condition.if_none = true;
    } else if (EqualsIgnoreCase(call[i], "xx")) {
      condition.if_some = true;
    } else if (EqualsIgnoreCase(call[i], "gt")) {
      condition.if_later = true;
    } else if (EqualsIgnoreCase(call[i], "lt")) {
      condition.if_earlier = true;
    } else {
      return Fail(ErrorCode::kInvalidArgument, fmt::format("ERR Unsupported option {}", call[i]));
    }
  }
  if (condition.if_none && (condition.if_some || condition.if_later || condition.if_earlier))
    return Fail(ErrorCode::kInvalidArgument,
                "ERR NX and XX, GT or LT options at the same time are not compatible");
  if (condition.if_later && condition.if_earlier)
    return Fail(ErrorCode::kInvalidArgument,
                "ERR GT and LT options at the same time are not compatible");
  return condition;
}

// Deletes the object: its nodes know of it before anybody sees it. False if it is not its key's
// value any more.
net::Task<bool> Delete(Call& call, const ObjectRef& object) {
  co_await cache::Retire(call.worker, {&object, 1}, wire::kDeletedMark);
  co_return DirectoryOf(call).RemoveIfCurrent(object);
}

net::Task<> ExpireWith(Call& call, ExpiryUnit unit, std::string_view command) {
  const WallMillis now = call.worker.shared().clock.WallNow();
  const auto when = ParseExpiry(call[2], unit, now, command, /*positive_only=*/false);
  if (!when) co_return call.reply.Error(when.error().message);
  const auto condition = ParseExpireCondition(call);
  if (!condition) co_return call.reply.Error(condition.error().message);
  Directory& directory = DirectoryOf(call);
  const ObjectRef object = directory.Find(call[1]);
  if (object == nullptr || !condition->Allows(object->expires_at(), *when))
    co_return call.reply.Integer(0);
  const bool done =
      *when <= now ? co_await Delete(call, object) : call.worker.SetExpiry(object, *when);
  call.reply.Integer(done ? 1 : 0);
}

void ReplyKeys(Call& call, const std::vector<ObjectRef>& objects) {
  call.reply.Array(objects.size());
  for (const ObjectRef& object : objects) call.reply.Bulk(object->key());
}

}  // namespace

net::Task<> Del(Call& call) {
  Directory& directory = DirectoryOf(call);
  std::vector<ObjectRef> objects;
  for (std::size_t i = 1; i < call.size(); ++i) {
    if (ObjectRef object = directory.Find(call[i]); object != nullptr)
      objects.push_back(std::move(object));
  }
  // Nodes know of it before anybody sees it: what a client was told is gone stays gone.
  co_await cache::Retire(call.worker, objects, wire::kDeletedMark);
  std::int64_t removed = 0;
  for (const ObjectRef& object : objects) {
    // One that was overwritten meanwhile was deleted just before that.
    if (directory.RemoveIfCurrent(object) || directory.Find(object->key()) != nullptr) ++removed;
  }
  call.reply.Integer(removed);
}

void Exists(Call& call) {
  std::int64_t found = 0;
  for (std::size_t i = 1; i < call.size(); ++i)
    found += DirectoryOf(call).Find(call[i]) != nullptr ? 1 : 0;
  call.reply.Integer(found);
}

void Ttl(Call& call) {
  ReplyExpiry(call, [&](WallMillis when) { return (MillisLeft(call, when) + 500) / 1000; });
}

void PTtl(Call& call) {
  ReplyExpiry(call, [&](WallMillis when) { return MillisLeft(call, when); });
}

void ExpireTime(Call& call) {
  ReplyExpiry(call, [](WallMillis when) { return (when + 500) / 1000; });
}

void PExpireTime(Call& call) {
  ReplyExpiry(call, [](WallMillis when) { return when; });
}

net::Task<> Expire(Call& call) {
  co_await ExpireWith(call, {std::chrono::seconds(1), false}, "expire");
}

net::Task<> PExpire(Call& call) {
  co_await ExpireWith(call, {std::chrono::milliseconds(1), false}, "pexpire");
}

net::Task<> ExpireAt(Call& call) {
  co_await ExpireWith(call, {std::chrono::seconds(1), true}, "expireat");
}

net::Task<> PExpireAt(Call& call) {
  co_await ExpireWith(call, {std::chrono::milliseconds(1), true}, "pexpireat");
}

void Persist(Call& call) {
  Directory& directory = DirectoryOf(call);
  const ObjectRef object = directory.Find(call[1]);
  const bool expires = object != nullptr && object->expires_at() != ObjectRecord::kNever;
  call.reply.Integer(expires && call.worker.SetExpiry(object, ObjectRecord::kNever) ? 1 : 0);
}

void Type(Call& call) {
  call.reply.Simple(DirectoryOf(call).Find(call[1]) == nullptr ? "none" : "string");
}

void DbSize(Call& call) {
  call.reply.Integer(static_cast<std::int64_t>(DirectoryOf(call).size()));
}

void Scan(Call& call) {
  std::uint64_t cursor = 0;
  const std::string_view text = call[1];
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cursor);
  if (error != std::errc() || end != text.data() + text.size())
    return call.reply.Error("ERR invalid cursor");
  std::string_view pattern = "*";
  bool strings = true;
  std::size_t count = kScanCountDefault;
  for (std::size_t i = 2; i < call.size(); i += 2) {
    if (i + 1 == call.size()) return call.reply.Error(kSyntaxError);
    const std::string_view value = call[i + 1];
    if (EqualsIgnoreCase(call[i], "match")) {
      pattern = value;
    } else if (EqualsIgnoreCase(call[i], "count")) {
      const auto number = ParseInteger(value);
      if (!number) return call.reply.Error(kNotAnInteger);
      if (*number < 1) return call.reply.Error(kSyntaxError);
      count = std::min(static_cast<std::size_t>(*number), kScanCountMax);
    } else if (EqualsIgnoreCase(call[i], "type")) {
      strings = EqualsIgnoreCase(value, "string");
    } else {
      return call.reply.Error(kSyntaxError);
    }
  }
  std::vector<ObjectRef> found;
  const std::uint64_t next = DirectoryOf(call).Scan(cursor, count, [&](const ObjectRef& object) {
    if (strings && wire::GlobMatch(pattern, object->key())) found.push_back(object);
  });
  call.reply.Array(2);
  call.reply.Bulk(std::to_string(next));
  ReplyKeys(call, found);
}

void Keys(Call& call) {
  std::vector<ObjectRef> found;
  std::uint64_t cursor = 0;
  do {
    cursor = DirectoryOf(call).Scan(cursor, kScanCountMax, [&](const ObjectRef& object) {
      if (wire::GlobMatch(call[1], object->key())) found.push_back(object);
    });
  } while (cursor != 0);
  ReplyKeys(call, found);
}

net::Task<> FlushAll(Call& call) {
  const bool mode_known =
      call.size() == 1 || (call.size() == 2 && (EqualsIgnoreCase(call[1], "async") ||
                                                EqualsIgnoreCase(call[1], "sync")));
  if (!mode_known) co_return call.reply.Error(kSyntaxError);
  std::vector<ObjectRef> objects = DirectoryOf(call).Clear();
  co_await cache::Retire(call.worker, objects, wire::kDeletedMark);
  objects.clear();
  // Whoever empties the cache wants its memory back, also from nodes that sleep.
  call.worker.shared().reclaimer->Flush();
  call.reply.Simple("OK");
}

}  // namespace infinicache::proxy
