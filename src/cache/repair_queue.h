// Objects that lack chunks, waiting for repair: the most endangered first.
//
// Before all others goes the object that can lose the fewest further chunks; among equals the one
// that was used last. An object that loses another chunk while it waits moves forward.
//
// Added from any thread, at most once each (ObjectRecord::repair_pending); taken by the workers'
// repair tasks. An object that cannot be repaired yet (no node has room, or too few can be reached)
// comes back after kRetryAfter.
//
// Cost: O(log n) under one lock; about 150 bytes for each object that waits.
#pragma once

#include <chrono>
#include <compare>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "cache/object.h"
#include "policy/rate_limit.h"

namespace infinicache::cache {

// What an object lacks.
struct RepairNeed {
  bool lost = false;                // fewer than d chunks survive
  std::size_t spare = 0;            // chunks that it can still lose
  std::uint64_t missing_bytes = 0;  // of the chunks to be re-created
};

class RepairQueue {
 public:
  static constexpr Duration kRetryAfter = std::chrono::milliseconds(500);
  // What repair may send at once under a bandwidth limit: a few rows.
  static constexpr std::uint64_t kBurstBytes = 1 * kMiB;

  // With `enabled` false Add does nothing. `survey` says what an object lacks now, from any thread.
  // `bytes_per_second` bounds what Throttle lets pass; 0: no bound.
  RepairQueue(bool enabled, std::function<RepairNeed(const ObjectRecord&)> survey,
              std::uint64_t bytes_per_second = 0)
      : enabled_(enabled), survey_(std::move(survey)), limit_(bytes_per_second, kBurstBytes) {}

  // `wake` is called, from the adding thread, when there is something to take.
  void set_wake(std::function<void()> wake) { wake_ = std::move(wake); }

  void Add(const ObjectRef& object);
  // Puts back one that was taken, for later.
  void AddLater(ObjectRef object, TimePoint now);
  // The next object, or null. `*next` is when a later one is due (max() if none).
  ObjectRef Take(TimePoint now, TimePoint* next);
  // How long to wait before `bytes` are sent for repair.
  Duration Throttle(std::uint64_t bytes, TimePoint now);

  // Objects that wait, and the bytes that they lacked when they were added. From any thread.
  std::size_t size() const;
  std::uint64_t bytes() const;
  void Clear();

 private:
  struct Key {
    std::size_t spare;
    WallMillis used_at;
    std::uint64_t order;  // of adding
    // Less is sooner.
    std::strong_ordering operator<=>(const Key& other) const {
      if (spare != other.spare) return spare <=> other.spare;
      if (used_at != other.used_at) return other.used_at <=> used_at;
      return order <=> other.order;
    }
    bool operator==(const Key&) const = default;
  };
  struct Entry {
    ObjectRef object;
    std::uint64_t bytes = 0;
  };
  struct Postponed {
    TimePoint due;
    Entry entry;
  };

  void MoveForward(const ObjectRef& object);
  ObjectRef Release(Entry entry);

  const bool enabled_;
  const std::function<RepairNeed(const ObjectRecord&)> survey_;
  std::function<void()> wake_;
  mutable std::mutex mutex_;
  policy::RateLimit limit_;
  std::map<Key, Entry> ready_;
  std::unordered_map<const ObjectRecord*, Key> keys_;  // of what is ready
  std::deque<Postponed> later_;                        // by time
  std::uint64_t added_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace infinicache::cache
