// In which order objects leave a full cache.
//
// Two orders, one interface:
// - CLOCK, as in the InfiniCache paper (Wang et al., FAST 2020): objects on a ring in the order of
//   writes; a hand goes round, passes what was used since it came by last, and takes what was not.
// - S3-FIFO (Yang et al., SOSP 2023, algorithm 1): new objects enter a small queue that may hold
//   10 % of the bytes. Those that are used twice there move to the main queue, the others leave and
//   are remembered for a while as ghosts. What comes back as a ghost enters the main queue at once.
//   There an object passes one round for each of its last three uses.
//
// Orders count bytes, not objects: the caller takes victims until it has the bytes that it needs,
// where it needs them. What frees nothing there is passed over by a filter, and keeps its chance.
//
// Pure: no clock and no randomness, so that a server, a simulator and a benchmark evict alike. An
// entry is part of the object's record (intrusive: no allocation, no look-up).
//
// Thread-safety: EvictionEntry::Touch from any thread at any time; all else under one lock of the
// caller's. Cost: Touch is a relaxed load and, for the first three uses, a store; Insert, Replace
// and Erase are O(1); Victim visits `visits_max` entries at most.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "base/ids.h"

namespace infinicache::policy {

enum class EvictionPolicy : std::uint8_t { kNone, kClock, kS3Fifo };

// "noeviction", "allkeys-clock", "allkeys-s3fifo".
std::string_view EvictionPolicyName(EvictionPolicy policy);
std::optional<EvictionPolicy> ParseEvictionPolicy(std::string_view name);

// An object in an order. It is in one order at most, and leaves it before it goes away.
class EvictionEntry {
 public:
  static constexpr std::uint8_t kUsesMax = 3;

  EvictionEntry() = default;
  EvictionEntry(const EvictionEntry&) = delete;
  EvictionEntry& operator=(const EvictionEntry&) = delete;

  // The object is used. Of uses at the same instant some may not be counted.
  void Touch() {
    const std::uint8_t uses = uses_.load(std::memory_order_relaxed);
    if (uses < kUsesMax) uses_.store(uses + 1, std::memory_order_relaxed);
  }

  // Uses that still count, 0 to kUsesMax.
  std::uint8_t uses() const { return uses_.load(std::memory_order_relaxed); }
  bool InOrder() const { return next_ != nullptr; }
  // What Insert was told. REQUIRES: InOrder().
  std::uint64_t order_bytes() const { return bytes_; }

 private:
  friend class EvictionRing;
  friend class ClockOrder;
  friend class S3FifoOrder;

  void set_uses(std::uint8_t uses) { uses_.store(uses, std::memory_order_relaxed); }

  std::atomic<std::uint8_t> uses_{0};
  bool in_main_ = false;
  ObjectId id_;
  std::uint64_t bytes_ = 0;
  EvictionEntry* next_ = nullptr;
  EvictionEntry* previous_ = nullptr;
};

// Entries in a circle. The hand points at the oldest; new ones go right behind it.
class EvictionRing {
 public:
  void Add(EvictionEntry& entry);
  void Remove(EvictionEntry& entry);
  EvictionEntry* hand() const { return hand_; }  // null: empty
  void Advance() { hand_ = hand_->next_; }
  std::size_t size() const { return size_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  EvictionEntry* hand_ = nullptr;
  std::size_t size_ = 0;
  std::uint64_t bytes_ = 0;
};

// Ids of objects that left not long ago: the latest ones, up to a sum of bytes and a number.
class GhostQueue {
 public:
  void Add(ObjectId id, std::uint64_t bytes);
  // Forgets `id`; whether it was there.
  bool Take(ObjectId id);
  // Forgets the oldest until the limits hold.
  void Shrink(std::uint64_t bytes_max, std::size_t count_max);

  std::size_t size() const { return current_.size(); }
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Ghost {
    ObjectId id;
    std::uint64_t bytes = 0;
    std::uint64_t number = 0;
  };

  std::deque<Ghost> queue_;  // some may be taken already: their number is no longer current
  std::unordered_map<ObjectId, std::uint64_t> current_;  // id -> number
  std::uint64_t bytes_ = 0;                              // of the current ones
  std::uint64_t last_number_ = 0;
};

class EvictionOrder {
 public:
  // Whether an object may be taken, that is, whether that frees what is needed.
  using Filter = std::function<bool(const EvictionEntry&)>;

  virtual ~EvictionOrder() = default;

  // Puts a new object in. REQUIRES: !entry.InOrder().
  virtual void Insert(EvictionEntry& entry, ObjectId id, std::uint64_t bytes) = 0;
  // `fresh` takes over from `old`, the former write of the same key, with its uses and this one
  // more. REQUIRES: !fresh.InOrder().
  virtual void Replace(EvictionEntry& old, EvictionEntry& fresh, ObjectId id,
                       std::uint64_t bytes) = 0;
  // Takes an object out that was deleted or has expired; none if it is not in.
  virtual void Erase(EvictionEntry& entry) = 0;
  // Takes out the next object to evict, or returns null. It looks at `visits_max` entries at most;
  // if all those that pass the filter were used, it takes the least used of them.
  virtual EvictionEntry* Victim(const Filter& filter, std::size_t visits_max) = 0;

  virtual std::size_t size() const = 0;
  virtual std::uint64_t bytes() const = 0;
};

class ClockOrder final : public EvictionOrder {
 public:
  void Insert(EvictionEntry& entry, ObjectId id, std::uint64_t bytes) override;
  void Replace(EvictionEntry& old, EvictionEntry& fresh, ObjectId id, std::uint64_t bytes) override;
  void Erase(EvictionEntry& entry) override;
  EvictionEntry* Victim(const Filter& filter, std::size_t visits_max) override;

  std::size_t size() const override { return ring_.size(); }
  std::uint64_t bytes() const override { return ring_.bytes(); }

 private:
  EvictionRing ring_;
};

class S3FifoOrder final : public EvictionOrder {
 public:
  // The small queue's share of all bytes is 1 / kSmallShare.
  static constexpr std::uint64_t kSmallShare = 10;
  // Uses in the small queue that lead to the main queue.
  static constexpr std::uint8_t kPromotingUses = 2;
  // Ghosts are at most as many as objects, or so many if these are fewer.
  static constexpr std::size_t kGhostsAtLeast = 1024;

  void Insert(EvictionEntry& entry, ObjectId id, std::uint64_t bytes) override;
  void Replace(EvictionEntry& old, EvictionEntry& fresh, ObjectId id, std::uint64_t bytes) override;
  void Erase(EvictionEntry& entry) override;
  EvictionEntry* Victim(const Filter& filter, std::size_t visits_max) override;

  std::size_t size() const override { return small_.size() + main_.size(); }
  std::uint64_t bytes() const override { return small_.bytes() + main_.bytes(); }
  std::size_t ghosts() const { return ghosts_.size(); }

 private:
  struct Search;

  void Add(EvictionEntry& entry, ObjectId id, std::uint64_t bytes, bool to_main);
  EvictionEntry* FromSmall(Search& search);
  EvictionEntry* FromMain(Search& search);
  EvictionEntry* Take(EvictionEntry* entry);

  EvictionRing small_;
  EvictionRing main_;
  GhostQueue ghosts_;
};

// Null for kNone.
std::unique_ptr<EvictionOrder> MakeEvictionOrder(EvictionPolicy policy);

}  // namespace infinicache::policy
