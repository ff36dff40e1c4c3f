// The chunks in one instance's memory.
//
// A chunk is written once, strip by strip and in order, becomes visible when it is complete, and
// never changes after that. Its memory is promised whole at the first strip, and taken strip by
// strip: a node that has no room says so before any byte of the payload is kept ("full" is
// kOutOfMemory), and never grows past its limit. Readers hold a chunk by shared_ptr; removed memory
// is free once the last of them lets go.
//
// Accounting: bytes_used() is the arena's blocks plus kChunkOverheadBytes and the key of each
// chunk that has memory, whether it is complete, still on its way in, or removed and held by a
// reader; and what is lent.
//
// In memory that the proxy reads by itself (SharedMemory), what is corrupt is put aside, not freed:
// a reader may be at it, and must not find other bytes there.
//
// Changes are numbered (node/change_log.h), and the order of uses is known, so that a copy in
// another instance can be brought up to date (node/sync_plan.h).
//
// Thread-safety: none; one event loop.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/limits.h"
#include "base/result.h"
#include "base/shared_memory.h"
#include "node/change_log.h"
#include "node/extent_arena.h"
#include "wire/chunk_location.h"
#include "wire/frame.h"
#include "wire/lending.h"

namespace infinicache::node {

// The memory of a store's chunks, which they share and return to.
struct ChunkMemory {
  explicit ChunkMemory(std::uint64_t limit_bytes) : arena(limit_bytes) {}
  ChunkMemory(SharedMemory shared, std::uint64_t limit_bytes)
      : arena(std::move(shared), limit_bytes) {}
  std::uint64_t used_bytes() const { return arena.used_bytes() + reserved_bytes + overhead_bytes; }

  ExtentArena arena;
  // For strips that have not come yet, and with memory that is lent.
  std::uint64_t reserved_bytes = 0;
  std::uint64_t overhead_bytes = 0;  // what chunks take beside their extents
};

class Chunk {
 public:
  struct Strip {
    std::uint32_t first_extent = 0;
    std::uint32_t extents = 0;
    std::uint32_t bytes = 0;
    std::uint32_t crc = 0;  // CRC32C of the strip, as the writer computed it
  };

  // Use ChunkStore::Begin.
  Chunk(std::shared_ptr<ChunkMemory> memory, ChunkId id, wire::ChunkMeta meta);
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;
  ~Chunk();

  const ChunkId& id() const { return id_; }
  const wire::ChunkMeta& meta() const { return meta_; }
  std::span<const Strip> strips() const { return strips_; }
  std::span<const Extent> ExtentsOf(const Strip& strip) const {
    return std::span(extents_).subspan(strip.first_extent, strip.extents);
  }
  bool IsComplete() const { return strips_received_ == strips_.size(); }
  // Index of the strip that starts at `offset`, or strips().size() if none does.
  std::size_t StripAt(std::uint64_t offset) const;
  // What it takes of the store's memory.
  std::uint64_t StoredBytes() const;
  // Whether the strip's bytes still have their checksum. Reads them all.
  bool Verify(const Strip& strip) const;
  // The changes by which it was stored, and given its present expiry.
  std::uint64_t stored_by() const { return stored_by_; }
  std::uint64_t expiry_set_by() const { return expiry_set_by_; }
  // Grows with every use of any chunk of the store.
  std::uint64_t last_use() const { return last_use_; }

 private:
  friend class ChunkStore;

  std::shared_ptr<ChunkMemory> memory_;
  ChunkId id_;
  wire::ChunkMeta meta_;
  std::vector<Extent> extents_;
  std::vector<Strip> strips_;
  std::size_t strips_received_ = 0;
  std::uint64_t reserved_bytes_ = 0;  // promised for the strips to come
  std::uint64_t stored_by_ = 0;
  std::uint64_t expiry_set_by_ = 0;
  std::uint64_t last_use_ = 0;
};

class ChunkStore {
 public:
  static constexpr std::uint64_t kChunkOverheadBytes = infinicache::kChunkOverheadBytes;

  // REQUIRES: limit_bytes >= 4 MiB.
  explicit ChunkStore(std::uint64_t limit_bytes);
  // In `memory`, of MemoryBytes(limit_bytes).
  static std::uint64_t MemoryBytes(std::uint64_t limit_bytes) {
    return wire::MemoryBytesWithRings(ExtentArena::MemoryBytes(limit_bytes));
  }
  ChunkStore(SharedMemory memory, std::uint64_t limit_bytes);

  // Takes memory for a chunk that nobody sees yet. Errors: kOutOfMemory (the node is full),
  // kInvalidArgument (sizes that contradict each other).
  Result<std::shared_ptr<Chunk>> Begin(const ChunkId& id, wire::ChunkMeta meta);
  // The extents into which the next strip's bytes go. Errors: kInvalidArgument if `offset` and
  // `bytes` are not the next strip of the chunk.
  Result<std::span<const Extent>> NextStrip(Chunk& chunk, std::uint64_t offset,
                                            std::uint64_t bytes);
  // Tells that the bytes of the next strip are in place. Errors: kCorrupt if they do not have
  // checksum `crc`.
  Status StripReceived(Chunk& chunk, std::uint32_t crc);
  // Makes a complete chunk visible; a chunk of the same id is replaced. REQUIRES:
  // chunk->IsComplete().
  void Commit(std::shared_ptr<Chunk> chunk);

  std::shared_ptr<const Chunk> Find(const ChunkId& id) const;
  // As Find, for a user's request.
  std::shared_ptr<const Chunk> Use(const ChunkId& id);
  bool Remove(const ChunkId& id);
  // The same for a chunk that turned out to be corrupt.
  void RemoveCorrupt(const ChunkId& id);
  // Notes when the chunk's object expires (Unix milliseconds, 0: never, or a mark of
  // wire/inventory.h). The store does nothing about it but tell. A mark stays: what was deleted may
  // be overtaken by an earlier change of expiry. False if there is no such chunk.
  bool SetExpiry(const ChunkId& id, std::int64_t expires_at_ms);
  // Of all complete chunks, in no order.
  std::vector<ChunkId> Identities() const;
  std::vector<std::shared_ptr<const Chunk>> Chunks() const;
  const ChangeLog& changes() const { return changes_; }

  // Lends shared memory (node/memory_lender.h): about `bytes`, in ranges that are appended to
  // `out`, of multiples of `unit`. Where there is none as long, shorter ones, of multiples of
  // kLentPieceBytes. Less, or nothing, if there is not as much. REQUIRES: the memory is shared.
  static constexpr std::uint64_t kLentPieceBytes = 4 * kKiB;
  void Lend(std::uint64_t bytes, std::uint64_t unit, std::vector<wire::MemoryRange>& out);
  // Lends a part of the limit for what chunks take beside their strips. Returns `bytes`, or what is
  // free of them.
  std::uint64_t LendOverhead(std::uint64_t bytes);
  // Takes back what was lent and is no chunk's. REQUIRES: it was lent, and begins and ends where
  // blocks may.
  void TakeBack(const wire::MemoryRange& range);
  void TakeBackOverhead(std::uint64_t bytes);
  // A chunk whose bytes somebody has put into memory that was lent: `overhead_lent` of what it
  // takes beside them was lent too. It is visible at once. Errors: kInvalidArgument; then nothing
  // has changed. REQUIRES: the strips' memory was lent.
  Status Adopt(wire::StoredChunk stored, std::uint64_t overhead_lent);
  // What Adopt takes of the limit beside the strips' memory.
  static std::uint64_t OverheadOf(const wire::ChunkMeta& meta);
  // What a strip of `bytes` takes of memory that was lent.
  static std::uint64_t CostOfStrip(std::uint64_t bytes) { return ExtentArena::CostOf(bytes); }

  // Flips one bit of a stored chunk, for tests of what a reader makes of it. False if there is no
  // such bit.
  bool FlipBitForTest(const ChunkId& id, std::uint64_t byte_offset);

  // Where the chunk's strips are in memory that others read. Errors: kNotFound (no such chunk),
  // kUnavailable (the memory is private), kTooLarge (it has more pieces than a message holds).
  Result<wire::ChunkLocation> Locate(const ChunkId& id);
  // Null if the memory is private.
  const SharedMemory* shared_memory() const { return memory_->arena.shared(); }

  std::uint64_t bytes_limit() const { return memory_->arena.limit_bytes(); }
  std::uint64_t bytes_used() const { return memory_->used_bytes(); }  // <= bytes_limit()
  std::uint64_t chunks() const { return chunks_.size(); }

 private:
  std::shared_ptr<ChunkMemory> memory_;
  std::unordered_map<ChunkId, std::shared_ptr<Chunk>, ChunkIdHash> chunks_;
  std::vector<std::shared_ptr<const Chunk>> put_aside_;
  ChangeLog changes_;
  std::uint64_t uses_ = 0;
};

}  // namespace infinicache::node
