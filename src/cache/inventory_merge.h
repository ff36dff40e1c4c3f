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
//   - one with fewer may have been the key's value if those that can be lost make it as many as a
//     write needs to be answered: it is lost (reclaimed), and ends the search: nothing older may
//     come back;
//   - one with still fewer is passed over: its write or its delete was under way (torn).
//
// A chunk can be lost with a node that has no instance, or with one whose instance is younger than
// the version: a source tells since when it is its node's. One that cannot tell, because it is a
// copy of another instance and may be behind, may lack anything. What such a source has counts
// among the d only if a newer version would show elsewhere: d chunks must be at other sources.
//
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
  // chunks, and whose memory is gone. `parity_min`: as of ChunksToCommit, when they were written.
  InventoryMerge(std::vector<pool::Place> sources, std::size_t nodes_lost, std::size_t parity_min);

  // The source's next entries, in order. All that it has below `listed` is listed with them; `end`:
  // all that it has.
  void AddPage(std::size_t source, std::vector<wire::InventoryEntry> entries, ObjectId listed,
               bool end);
  // All that was written to the source's node after this version, and not freed, is listed. Zero,
  // as it is at first: not known.
  void SetSince(std::size_t source, Version since) { sources_[source].since = since; }
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
    Version since;
    bool ended = false;
    bool counted = false;  // among nodes_lost_
  };
  struct Chunk {
    pool::Place place;
    std::size_t source;
    wire::InventoryEntry entry;
  };

  std::vector<Chunk> TakeEntries();
  void SettleKey(std::span<const Chunk> chunks, WallMillis now, Settled& out) const;
  // The version of `chunks`; whether older ones are of no interest any more.
  bool SettleVersion(std::span<const Chunk> chunks, WallMillis now, Settled& out) const;

  // Nodes that can have lost a chunk of the version, and have none of `chunks`, which are its.
  std::size_t MayHaveLost(std::span<const Chunk> chunks) const;

  std::vector<Source> sources_;
  std::size_t nodes_lost_;
  const std::size_t parity_min_;
};

}  // namespace infinicache::cache
