// A node's memory for chunk bytes: a buddy allocator over one reservation.
//
// Blocks are powers of two from 1 KiB to 2 MiB. A request is met by several extents when need be
// (100 KiB = 64 + 32 + 4), so that waste is below 1 KiB per request and no fragmentation can make a
// request fail while enough bytes are free: a node is full only when it is full.
//
// Blocks begin kStripPageOffset behind a multiple of their size. Memory is reserved at once and
// touched 2 MiB at a time, by huge pages, when first needed; it is kept for reuse. The arena never
// holds more than its limit and a page. It may be memory that other processes read
// (base/shared_memory.h).
//
// Thread-safety: none. Cost: 1 byte of bookkeeping per KiB; O(log) per extent.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/shared_memory.h"

namespace infinicache::node {

struct Extent {
  std::byte* data = nullptr;
  std::uint32_t bytes = 0;  // asked for; the block behind it is at least as large
};

class ExtentArena {
 public:
  static constexpr std::size_t kBlockBytesMin = kStripBlockBytes;
  static constexpr std::size_t kBlockBytesMax = 2 * kMiB;

  // Reserves `limit_bytes` (rounded down to 2 MiB). REQUIRES: at least 2 MiB.
  explicit ExtentArena(std::uint64_t limit_bytes);
  // The same over the first MemoryBytes(limit_bytes) of `memory`.
  ExtentArena(SharedMemory memory, std::uint64_t limit_bytes);
  static std::uint64_t MemoryBytes(std::uint64_t limit_bytes);
  ExtentArena(const ExtentArena&) = delete;
  ExtentArena& operator=(const ExtentArena&) = delete;
  ~ExtentArena();

  // Appends extents of `bytes` in sum to `out`, in order. All or nothing: false if the arena has no
  // room.
  bool Allocate(std::size_t bytes, std::vector<Extent>& out);
  void Free(std::span<const Extent> extents);

  // Lends memory of which parts become extents later: one range of at most `bytes_max`, a multiple
  // of `unit`; bytes 0 if there is none. What was touched before comes first, and short
  // gaps rather than long ones, as far as a look at some of them shows. It counts as used until it
  // is freed, in extents that Carve makes of it. REQUIRES: `unit` is a multiple of kBlockBytesMin.
  Extent Lend(std::size_t bytes_max, std::size_t unit);
  // Appends extents of the `bytes` at `data`, which Lend has lent, to `out`. REQUIRES: `data` lies
  // at a multiple of kBlockBytesMin from the first block; these bytes were not carved before.
  void Carve(std::byte* data, std::size_t bytes, std::vector<Extent>& out);

  // Bytes that Allocate(bytes) takes from the arena.
  static std::size_t CostOf(std::size_t bytes) { return RoundUp(bytes, kBlockBytesMin); }

  // Where the extent begins, from the memory's first byte.
  std::uint64_t OffsetOf(const Extent& extent) const {
    return static_cast<std::uint64_t>(extent.data - memory_);
  }
  // The other way round. REQUIRES: `offset` is within the memory.
  std::byte* At(std::uint64_t offset) const { return memory_ + offset; }
  // Whether Carve takes what begins at `offset`.
  static bool IsAtBlock(std::uint64_t offset) {
    return offset >= kStripPageOffset && (offset - kStripPageOffset) % kBlockBytesMin == 0;
  }
  // Null if it is private.
  const SharedMemory* shared() const { return shared_ ? &*shared_ : nullptr; }

  std::uint64_t limit_bytes() const { return limit_; }
  std::uint64_t used_bytes() const { return used_; }        // in blocks lent out
  std::uint64_t touched_bytes() const { return touched_; }  // backed by real memory

 private:
  static constexpr unsigned kOrders = 12;  // 1 KiB << 0 … 1 KiB << 11
  static constexpr std::uint8_t kNotAHead = 0xFF;
  static constexpr std::uint8_t kFreeBit = 0x80;
  static constexpr std::size_t kGapsTried = 32;  // for each size of block

  struct FreeBlock {
    FreeBlock* next;
    FreeBlock* previous;
  };

  bool Touch();
  std::byte* TakeBlock(unsigned order);  // nullptr if no block of this order can be had
  void GiveBlock(std::byte* data, unsigned order);
  Extent LendBlock(std::size_t bytes_max, std::size_t bytes_min, bool touch);
  Extent LendGap(std::size_t bytes_max, std::size_t bytes_min);
  bool IsFree(std::size_t index, unsigned order) const {
    return state_[index] == (order | kFreeBit);
  }
  void Push(std::byte* data, unsigned order);
  void Remove(std::byte* data, unsigned order);
  std::size_t IndexOf(const std::byte* data) const {
    return static_cast<std::size_t>(data - base_) / kBlockBytesMin;
  }

  std::uint64_t limit_;
  std::optional<SharedMemory> shared_;
  std::byte* memory_ = nullptr;
  std::byte* base_ = nullptr;  // of the blocks
  std::uint64_t touched_ = 0;
  std::uint64_t used_ = 0;
  // Per 1 KiB: at the head of a block its order, with kFreeBit if it is on a free list; else
  // kNotAHead.
  std::vector<std::uint8_t> state_;
  std::array<FreeBlock*, kOrders> free_{};
};

}  // namespace infinicache::node
