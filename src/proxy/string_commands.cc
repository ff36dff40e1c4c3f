#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cache/hidden.h"
#include "cache/object_writer.h"
#include "cache/retire.h"
#include "cache/send_object.h"
#include "proxy/expiry.h"
#include "proxy/handlers.h"
#include "proxy/session.h"
#include "wire/inventory.h"

namespace infinicache::proxy {
namespace {

using cache::Directory;
using cache::ObjectRecord;
using cache::ObjectRef;
using Condition = Directory::Condition;

struct SetOptions {
  Condition condition = Condition::kAlways;
  bool keep_expiry = false;
  bool reply_previous = false;
  WallMillis expires_at = ObjectRecord::kNever;
};

// The object of the value at `index`: streamed already, or written now.
net::Task<Result<ObjectRef>> TakeValue(Call& call, std::string_view key, std::size_t index,
                                       WallMillis expires_at = ObjectRecord::kNever) {
  if (auto* upload = call.session.Upload(index); upload != nullptr)
    co_return std::exchange(*upload, Fail(ErrorCode::kInternal, "the value was taken already"));
  co_return co_await cache::WriteObject(call.worker, key, call[index], expires_at);
}

// Replies with bytes [offset, offset + length) of `object`, or null if it cannot be read any more.
net::Task<> ReplyRange(Call& call, ObjectRef object, std::uint64_t offset, std::uint64_t length) {
  const std::string head = fmt::format("${}\r\n", length);
  const auto sent =
      co_await cache::SendObject(call.worker, std::move(object), offset, length,
                                 call.session.socket(), call.session.output(), head, "\r\n");
  switch (sent.outcome) {
    case cache::SendResult::Outcome::kDone:
      Add(call.worker.stats().hits);
      break;
    case cache::SendResult::Outcome::kMissing:
      call.reply.Null();
      break;
    case cache::SendResult::Outcome::kBroken:
      call.session.Break();
      break;
  }
}

net::Task<> ReplyObject(Call& call, ObjectRef object) {
  const std::uint64_t bytes = object->bytes();
  co_await ReplyRange(call, std::move(object), 0, bytes);
}

ObjectRef FindCounted(Call& call, std::string_view key) {
  cache::CacheShared& cache = call.worker.shared();
  ObjectRef object = cache.directory.Find(key);
  if (object == nullptr) {
    Add(call.worker.stats().misses_absent);
  } else {
    object->Use(cache.clock.WallNow());
  }
  return object;
}

net::Task<> ReplyKey(Call& call, std::string_view key) {
  ObjectRef object = FindCounted(call, key);
  if (object == nullptr) {
    call.reply.Null();
    co_return;
  }
  co_await ReplyObject(call, std::move(object));
}

// Reads what follows key and value of SET. Error: the reply.
Result<SetOptions> ParseSetOptions(Call& call) {
  SetOptions options;
  std::optional<ExpiryUnit> given;  // one kind of expiry may be repeated, two kinds exclude another
  const auto syntax_error = [] {
    return Fail(ErrorCode::kInvalidArgument, std::string(kSyntaxError));
  };
  for (std::size_t i = 3; i < call.size(); ++i) {
    const std::string_view word = call[i];
    const bool conditional = options.condition != Condition::kAlways;
    if (EqualsIgnoreCase(word, "nx")) {
      if (conditional && options.condition != Condition::kIfAbsent) return syntax_error();
      options.condition = Condition::kIfAbsent;
    } else if (EqualsIgnoreCase(word, "xx")) {
      if (conditional && options.condition != Condition::kIfPresent) return syntax_error();
      options.condition = Condition::kIfPresent;
    } else if (EqualsIgnoreCase(word, "get")) {
      options.reply_previous = true;
    } else if (EqualsIgnoreCase(word, "keepttl")) {
      if (given) return syntax_error();
      options.keep_expiry = true;
    } else if (const auto unit = ParseExpiryUnit(word)) {
      if ((given && *given != *unit) || options.keep_expiry || i + 1 == call.size())
        return syntax_error();
      given = unit;
      const auto when = ParseExpiry(call[++i], *unit, call.worker.shared().clock.WallNow(), "set");
      if (!when) return tl::make_unexpected(when.error());
      options.expires_at = *when;
    } else {
      return syntax_error();
    }
  }
  return options;
}

struct Stored {
  bool committed = false;
  ObjectRef previous;
};

// Stores the value at `index` under the call's key. Error: the reply.
net::Task<Result<Stored>> Store(Call& call, std::size_t index, SetOptions options) {
  Directory& directory = call.worker.shared().directory;
  const std::string_view key = call[1];
  if (options.condition != Condition::kAlways) {
    // Spares the write when it is in vain; Commit decides.
    ObjectRef present = directory.Find(key);
    if ((present != nullptr) != (options.condition == Condition::kIfPresent))
      co_return Stored{false, std::move(present)};
  }
  auto object = co_await TakeValue(call, key, index, options.expires_at);
  if (!object) co_return Fail(object.error().code, RespErrorFor(object.error()));
  const ObjectRef written = *object;
  auto result = call.worker.Commit(std::move(*object), options.condition, options.keep_expiry,
                                   options.expires_at);
  // A client that is told that nothing was set must not find it after a restart.
  if (!result.committed) co_await cache::Retire(call.worker, {&written, 1}, wire::kVoidMark);
  // Nor may one that is told that it was set find what was there before.
  if (const ObjectRef exposed = cache::Exposed(result, written))
    co_await cache::Retire(call.worker, {&exposed, 1}, wire::kDeletedMark);
  // The previous value may be read for long.
  if (result.committed && options.reply_previous && result.previous != nullptr)
    result.previous->TellDeleted();
  co_return Stored{result.committed, std::move(result.previous)};
}

net::Task<> SetWithLife(Call& call, ExpiryUnit unit, std::string_view command) {
  const auto when = ParseExpiry(call[2], unit, call.worker.shared().clock.WallNow(), command);
  if (!when) {
    call.reply.Error(when.error().message);
    co_return;
  }
  SetOptions options;
  options.expires_at = *when;
  const auto stored = co_await Store(call, 3, options);
  if (stored) {
    call.reply.Simple("OK");
  } else {
    call.reply.Error(stored.error().message);
  }
}

}  // namespace

net::Task<> Set(Call& call) {
  const auto options = ParseSetOptions(call);
  if (!options) {
    call.reply.Error(options.error().message);
    co_return;
  }
  auto stored = co_await Store(call, 2, *options);
  if (!stored) {
    call.reply.Error(stored.error().message);
  } else if (options->reply_previous && stored->previous != nullptr) {
    co_await ReplyObject(call, std::move(stored->previous));
  } else if (options->reply_previous || !stored->committed) {
    call.reply.Null();
  } else {
    call.reply.Simple("OK");
  }
}

net::Task<> SetNx(Call& call) {
  SetOptions options;
  options.condition = Condition::kIfAbsent;
  const auto stored = co_await Store(call, 2, options);
  if (stored) {
    call.reply.Integer(stored->committed ? 1 : 0);
  } else {
    call.reply.Error(stored.error().message);
  }
}

net::Task<> SetEx(Call& call) {
  co_await SetWithLife(call, {std::chrono::seconds(1), false}, "setex");
}

net::Task<> PSetEx(Call& call) {
  co_await SetWithLife(call, {std::chrono::milliseconds(1), false}, "psetex");
}

net::Task<> GetSet(Call& call) {
  SetOptions options;
  options.reply_previous = true;
  auto stored = co_await Store(call, 2, options);
  if (!stored) {
    call.reply.Error(stored.error().message);
  } else if (stored->previous == nullptr) {
    call.reply.Null();
  } else {
    co_await ReplyObject(call, std::move(stored->previous));
  }
}

net::Task<> Get(Call& call) {
  co_await ReplyKey(call, call[1]);
}

net::Task<> GetDel(Call& call) {
  Directory& directory = call.worker.shared().directory;
  ObjectRef object = directory.Find(call[1]);
  // As DEL.
  if (object != nullptr) co_await cache::Retire(call.worker, {&object, 1}, wire::kDeletedMark);
  if (object == nullptr || !directory.RemoveIfCurrent(object)) {
    Add(call.worker.stats().misses_absent);
    call.reply.Null();
    co_return;
  }
  co_await ReplyObject(call, std::move(object));
}

net::Task<> GetRange(Call& call) {
  const auto start = ParseInteger(call[2]);
  const auto end = ParseInteger(call[3]);
  if (!start || !end) {
    call.reply.Error(kNotAnInteger);
    co_return;
  }
  ObjectRef object = FindCounted(call, call[1]);
  if (object == nullptr) {
    call.reply.Bulk("");
    co_return;
  }
  // Redis's rules: negative positions count from the end, and the range is clipped to the value.
  const auto bytes = static_cast<std::int64_t>(object->bytes());
  const bool reversed = *start < 0 && *end < 0 && *start > *end;
  const std::int64_t first = *start < 0 ? std::max<std::int64_t>(*start + bytes, 0) : *start;
  const std::int64_t last =
      std::min(*end < 0 ? std::max<std::int64_t>(*end + bytes, 0) : *end, bytes - 1);
  if (reversed || first > last || bytes == 0) {
    Add(call.worker.stats().hits);
    call.reply.Bulk("");
    co_return;
  }
  co_await ReplyRange(call, std::move(object), static_cast<std::uint64_t>(first),
                      static_cast<std::uint64_t>(last - first + 1));
}

net::Task<> MGet(Call& call) {
  call.reply.Array(call.size() - 1);
  for (std::size_t i = 1; i < call.size() && !call.session.broken(); ++i)
    co_await ReplyKey(call, call[i]);
}

net::Task<> MSet(Call& call) {
  if (call.size() % 2 == 0) {
    call.reply.Error("ERR wrong number of arguments for 'mset' command");
    co_return;
  }
  // All values are stored before any is visible. Of a key that is named twice the last value
  // counts.
  std::vector<ObjectRef> objects;
  std::unordered_set<std::string_view> seen;
  for (std::size_t i = call.size() - 2; i < call.size(); i -= 2) {
    if (!seen.insert(call[i]).second) continue;
    auto object = co_await TakeValue(call, call[i], i + 1);
    if (!object) {
      call.reply.Error(RespErrorFor(object.error()));
      co_return;
    }
    objects.push_back(std::move(*object));
  }
  std::vector<ObjectRef> exposed;
  for (const ObjectRef& object : objects) {
    const auto result = call.worker.Commit(object, Condition::kAlways, false);
    if (ObjectRef older = cache::Exposed(result, object)) exposed.push_back(std::move(older));
  }
  objects.clear();
  co_await cache::Retire(call.worker, exposed, wire::kDeletedMark);
  call.reply.Simple("OK");
}

void StrLen(Call& call) {
  const ObjectRef object = call.worker.shared().directory.Find(call[1]);
  call.reply.Integer(object == nullptr ? 0 : static_cast<std::int64_t>(object->bytes()));
}

}  // namespace infinicache::proxy
