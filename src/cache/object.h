// One write of one object: what the directory holds and readers share.
//
// An ObjectRecord is immutable but for five things that change one at a time: where its chunks are
// (repair moves them), where these are in mapped memory (MappedReader finds out), when it expires,
// its uses (how often, for eviction; when last, for repair), and whether a directory owns it.
// References are shared_ptr: a reader that holds one can read this version to its end, even if the
// key is overwritten meanwhile. When the last reference goes and no directory owns the record, its
// chunks are freed on the nodes; so an upload that was given up leaves nothing behind, and a
// replaced version goes when its last reader is done.
//
// Thread-safety: all members from any thread. Cost: about 250 bytes, the key, and 8 bytes per
// chunk.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "cache/object_map.h"
#include "coding/stripe_layout.h"
#include "policy/eviction.h"
#include "pool/node_state.h"

namespace infinicache::cache {

// How many of its chunks a write must have stored to be answered. Beyond d as many as `parity_min`
// says; but a code with one parity chunk may go without it, or no single node could fail meanwhile.
std::size_t ChunksToCommit(coding::Code code, std::size_t parity_min);

// Frees chunks on nodes, and tells nodes of expiries, some time later. From any thread.
class ChunkReclaimer {
 public:
  virtual ~ChunkReclaimer() = default;
  virtual void Reclaim(pool::Place place, const ChunkId& chunk) = 0;
  // `expires_at`: Unix milliseconds, 0 for never, or a mark of wire/inventory.h.
  virtual void SetExpiry(pool::Place place, const ChunkId& chunk, WallMillis expires_at) = 0;
  // Frees what waits now.
  virtual void Flush() = 0;
  // Chunks that are not known to be freed yet.
  virtual std::size_t pending() const = 0;
};

class ObjectRecord : public std::enable_shared_from_this<ObjectRecord>,
                     public policy::EvictionEntry {
 public:
  static constexpr WallMillis kNever = 0;

  ObjectRecord(std::string key, ObjectId id, Version version, coding::StripeLayout layout,
               std::shared_ptr<ChunkReclaimer> reclaimer);
  ObjectRecord(const ObjectRecord&) = delete;
  ObjectRecord& operator=(const ObjectRecord&) = delete;
  ~ObjectRecord();

  const std::string& key() const { return key_; }
  ObjectId id() const { return id_; }
  Version version() const { return version_; }
  const coding::StripeLayout& layout() const { return layout_; }
  std::uint64_t bytes() const { return layout_.object_bytes; }
  std::size_t width() const { return places_.size(); }
  ChunkId chunk(std::size_t index) const {
    return {id_, version_, static_cast<std::uint16_t>(index)};
  }

  // What chunk `index` takes of its node's memory.
  std::uint64_t StoredBytes(std::size_t index) const;
  // The sum of that.
  std::uint64_t StoredBytes() const;

  pool::Place place(std::size_t index) const;
  void set_place(std::size_t index, pool::Place place);
  // The chunk is at `place` now if it was, or was last, at `expected`. False if it is elsewhere.
  bool MovePlace(std::size_t index, pool::Place expected, pool::Place place);
  // Forgets the chunk's place if it still is `expected`: it turned out to be missing there.
  void ClearPlace(std::size_t index, pool::Place expected);
  // The same for a chunk that turned out to be corrupt.
  void ClearCorrupt(std::size_t index, pool::Place expected);
  // Where the chunk is, or was before its place was cleared; and whether it was corrupt there.
  pool::Place last_place(std::size_t index) const;
  bool was_corrupt(std::size_t index) const;

  // Where its chunks are in mapped memory; null: nothing is known. Valid as long as the record.
  const ObjectMap* map() const { return map_.load(std::memory_order_acquire); }
  void set_map(std::unique_ptr<ObjectMap> map);

  // Unix milliseconds, or kNever.
  WallMillis expires_at() const { return expires_at_.load(std::memory_order_relaxed); }
  void set_expires_at(WallMillis when) { expires_at_.store(when, std::memory_order_relaxed); }
  bool IsExpired(WallMillis now) const {
    const WallMillis when = expires_at();
    return when != kNever && when <= now;
  }

  // Has the nodes note `expires_at` with the first `chunks` chunks that have a place.
  void TellExpiry(WallMillis expires_at, std::size_t chunks) const;

  // Has p+1 of the nodes note, soon, that this version is deleted and all older ones with it: for a
  // record that left the directory while somebody still reads it.
  void TellDeleted() const;

  // Somebody read it: counts for eviction (how often) and for repair (when last).
  void Use(WallMillis now) {
    Touch();
    set_used_at(now);
  }
  // When the value was read last, or written; Unix milliseconds.
  WallMillis used_at() const { return used_at_.load(std::memory_order_relaxed); }
  void set_used_at(WallMillis when) { used_at_.store(when, std::memory_order_relaxed); }

  // Whether a directory owns the record (Directory calls this).
  void set_owned(bool owned) { owned_.store(owned, std::memory_order_release); }

  // Set while the object waits for repair or is repaired, so that it is queued once.
  std::atomic<bool> repair_pending{false};

 private:
  std::string key_;
  ObjectId id_;
  Version version_;
  coding::StripeLayout layout_;
  std::shared_ptr<ChunkReclaimer> reclaimer_;
  std::vector<std::atomic<std::uint64_t>> places_;  // epoch << 32 | marks | node
  std::atomic<const ObjectMap*> map_{nullptr};      // owned
  std::atomic<WallMillis> expires_at_{kNever};
  std::atomic<WallMillis> used_at_{0};
  std::atomic<bool> owned_{false};
};

using ObjectRef = std::shared_ptr<ObjectRecord>;

}  // namespace infinicache::cache
