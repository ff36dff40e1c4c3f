// What the inventories of many nodes, put together, say of every key: pure, no I/O.
//
// Nodes list their chunks in ascending order of object, so the merge is a sweep: once every node
// has listed all below some object, the keys below it are settled, and never looked at again. What
// has to be kept are the entries between the slowest node and the fastest; MayAsk bounds that.
//
// Of a key's versions, from the newest on:
//   - one with a chunk marked void never was the key's value: it is passed over;
//   - one with a chunk marked deleted ends the search: the key is gone;
//   - one with d distinct chunks is the key's value, unless it has expired;
//   - one with fewer is passed over: a write or a delete was under way (torn), or, if the nodes
//   that
//     are lost could have held what is missing, its chunks are lost with them (reclaimed).
// All chunks that do not belong to the value are orphans. Chunks may disagree on the expiry when a
// change of it was under way; the earliest counts.
//
// Thread-safety: none. Cost: O(log n) per entry, where n is what settles at once, and a copy of its
// key; memory for kPagesAhead pages of each source, more only if one object takes more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "coding/stripe_layout.h"
#include "pool/node_state.h"
#include "wire/inventory.h"

namespace infinicache::cache {

class InventoryMerge {
 public:
  static constexpr std::size_t kPagesAhead = 2;

  struct Found {
    std::string key;
    ObjectId object;
    Version version;
    coding::StripeLayout layout;
    WallMillis expires_at = 0;
    std::vector<pool::Place> places;  // by chunk; some may be nowhere
  };
  struct Orphan {
    pool::Place place;
    ChunkId chunk;
    friend bool operator==(const Orphan&, const Orphan&) = default;
  };
  // A version that nobody can read any more.
  struct Unreadable {
    std::string key;
    std::uint64_t bytes = 0;
  };
  struct Settled {
    std::vector<Found> found;
    std::vector<Orphan> orphans;
    std::vector<Unreadable> torn;
    std::vector<Unreadable> reclaimed;
    std::vector<Unreadable> expired;
  };

  // `sources`: the instances whose inventories are merged. `nodes_lost`: others that may have held
  // chunks, and whose memory is gone.
  InventoryMerge(std::vector<pool::Place> sources, std::size_t nodes_lost);

  // The source's next entries, in order. All that it has below `listed` is listed with them; `end`:
  // all that it has.
  void AddPage(std::size_t source, std::vector<wire::InventoryEntry> entries, ObjectId listed,
               bool end);
  // Nothing more comes of the source. Its instance still holds what it has listed...
  void GiveUp(std::size_t source);
  // ... or has ended, and what is not settled is gone.
  void Drop(std::size_t source);

  // Whether the source is not so far ahead of others that its next page should wait.
  bool MayAsk(std::size_t source) const;
  bool HasEnded(std::size_t source) const { return sources_[source].ended; }
  // Keys with a smaller object are settled, or will be with the next TakeSettled. Only if !done().
  ObjectId settled_below() const;
  // Every source has ended.
  bool done() const;

  // What has become settled since the last call.
  Settled TakeSettled(WallMillis now);

 private:
  struct Source {
    pool::Place place;
    std::deque<wire::InventoryEntry> entries;  // not settled yet
    std::deque<std::size_t> pages;             // their sizes
    ObjectId listed;                           // all below is listed
    bool ended = false;
  };
  struct Chunk {
    pool::Place place;
    wire::InventoryEntry entry;
  };

  std::vector<Chunk> TakeEntries();
  void SettleKey(std::span<const Chunk> chunks, WallMillis now, Settled& out) const;
  // The version of `chunks`; whether older ones are of no interest any more.
  bool SettleVersion(std::span<const Chunk> chunks, WallMillis now, Settled& out) const;

  std::vector<Source> sources_;
  std::size_t nodes_lost_;
};

}  // namespace infinicache::cache
