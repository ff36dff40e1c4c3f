// Which objects exist: key -> ObjectRecord.
//
// Sharded by the key's hash; each shard is a tree ordered by hash under its own lock, which is held
// for well under a microsecond. A lock is chosen over one owning event loop per shard because
// handing a lookup to another core costs two wake-ups (70 µs where a lock costs 20 ns); see
// docs/adr. The order makes SCAN's cursor exact: it is the next hash to visit, and an element that
// stays is seen whatever is added or removed meanwhile.
//
// The order of eviction follows the directory: what is in the one is in the other.
//
// An expired record is as good as absent: it is removed by whoever meets it, and by RemoveExpired.
//
// Thread-safety: all members from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "cache/evictor.h"
#include "cache/gone_log.h"
#include "cache/object.h"

namespace infinicache::cache {

// XXH3 (64 bits) of the key.
ObjectId HashKey(std::string_view key);

class Directory {
 public:
  enum class Condition : std::uint8_t { kAlways, kIfAbsent, kIfPresent };

  struct CommitResult {
    bool committed = false;
    ObjectRef previous;  // what the key was before, whether or not committed
  };

  // Tells `evictor` of all that comes and goes, and counts what expires or is flushed in `gone`.
  // REQUIRES: the arguments outlive the directory.
  Directory(const Clock& clock, Evictor& evictor, GoneLog& gone)
      : clock_(clock), evictor_(evictor), gone_(gone) {}
  ~Directory();

  // The key's object, or null.
  ObjectRef Find(std::string_view key);

  // Makes `object` the value of its key if the condition holds. With `keep_expiry` it takes over
  // the previous one's expiry. A record of a later version than `object` is not replaced (the
  // commit counts as done and overwritten).
  CommitResult Commit(ObjectRef object, Condition condition, bool keep_expiry);

  // Removes the key; returns what it was, or null.
  ObjectRef Remove(std::string_view key);
  // Removes `object` if it still is its key's value.
  bool RemoveIfCurrent(const ObjectRef& object);
  bool IsCurrent(const ObjectRef& object);
  // Changes when `object` expires (ObjectRecord::kNever: not at all) if it still is its key's
  // value.
  bool SetExpiry(const ObjectRef& object, WallMillis when);
  // Removes everything (a flush); returns what it was.
  std::vector<ObjectRef> Clear();

  // Visits up to `count` keys from `cursor` on (0: from the start), and returns the cursor to go on
  // with, 0 at the end.
  std::uint64_t Scan(std::uint64_t cursor, std::size_t count,
                     const std::function<void(const ObjectRef&)>& visit);

  // Removes expired records among up to `count` from `cursor` on; returns the next cursor and adds
  // to *removed.
  std::uint64_t RemoveExpired(std::uint64_t cursor, std::size_t count, std::size_t* removed);

  std::size_t size() const { return size_.load(std::memory_order_relaxed); }
  std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  // Keys that have an expiry.
  std::size_t expiring() const { return expiring_.load(std::memory_order_relaxed); }

 private:
  static constexpr unsigned kShardBits = 6;
  using Tree = std::multimap<std::uint64_t, ObjectRef>;

  struct Shard {
    std::mutex mutex;
    Tree objects;
  };

  Shard& ShardOf(std::uint64_t hash) { return shards_[hash >> (64 - kShardBits)]; }
  // The key's record, expired or not. REQUIRES: the shard is locked.
  static Tree::iterator Locate(Shard& shard, std::uint64_t hash, std::string_view key);
  // Takes a record out. The caller drops the reference after unlocking. If there are more
  // references than ours and the caller's (`others`), somebody reads it on: its chunks stay for
  // now, and their nodes are told that it is deleted. REQUIRES: the shard is locked.
  ObjectRef Detach(Shard& shard, Tree::iterator where, long others = 0);
  // As Detach, for a record that has expired.
  ObjectRef DetachExpired(Shard& shard, Tree::iterator where);
  // Counts `object` among those with an expiry, or no longer. REQUIRES: its shard is locked.
  void CountExpiry(ObjectRecord& object, int by);

  const Clock& clock_;
  Evictor& evictor_;
  GoneLog& gone_;
  std::array<Shard, 1U << kShardBits> shards_;
  std::atomic<std::size_t> size_{0};
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<std::size_t> expiring_{0};
};

}  // namespace infinicache::cache
