#include "node/extent_arena.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"
#include "base/map_memory.h"

namespace infinicache::node {
namespace {

constexpr std::size_t BlockBytes(unsigned order) {
  return ExtentArena::kBlockBytesMin << order;
}

unsigned OrderOfBlock(std::size_t bytes) {
  return static_cast<unsigned>(std::countr_zero(bytes) -
                               std::countr_zero(ExtentArena::kBlockBytesMin));
}

// The block behind an extent: extents are whole powers of two, but for the last of an allocation.
std::size_t BlockBehind(std::size_t extent_bytes) {
  return std::bit_ceil(std::max(extent_bytes, ExtentArena::kBlockBytesMin));
}

}  // namespace

std::uint64_t ExtentArena::MemoryBytes(std::uint64_t limit_bytes) {
  return limit_bytes / kBlockBytesMax * kBlockBytesMax + kPageBytes;
}

ExtentArena::ExtentArena(std::uint64_t limit_bytes)
    : limit_(limit_bytes / kBlockBytesMax * kBlockBytesMax),
      memory_(MapMemory(MemoryBytes(limit_bytes), Prefault::kNo)) {
  CHECK(limit_ > 0, "an arena of {} bytes is below one block of {}", limit_bytes, kBlockBytesMax);
  CHECK(memory_ != nullptr, "cannot reserve {} bytes of address space", limit_);
  base_ = memory_ + kStripPageOffset;
  state_.assign(limit_ / kBlockBytesMin, kNotAHead);
}

ExtentArena::ExtentArena(SharedMemory memory, std::uint64_t limit_bytes)
    : limit_(limit_bytes / kBlockBytesMax * kBlockBytesMax),
      shared_(std::move(memory)),
      memory_(shared_->data()),
      base_(memory_ + kStripPageOffset) {
  CHECK(limit_ > 0 && shared_->bytes() >= MemoryBytes(limit_bytes));
  state_.assign(limit_ / kBlockBytesMin, kNotAHead);
}

ExtentArena::~ExtentArena() {
  if (!shared_) UnmapMemory(memory_, MemoryBytes(limit_));
}

bool ExtentArena::Allocate(std::size_t bytes, std::vector<Extent>& out) {
  const std::size_t cost = CostOf(bytes);
  if (cost > limit_ - used_) return false;
  const std::size_t first = out.size();
  std::size_t left = bytes;
  while (left > 0) {
    unsigned order = std::min(OrderOfBlock(std::bit_floor(CostOf(left))), kOrders - 1);
    std::byte* block = TakeBlock(order);
    while (block == nullptr && order > 0) block = TakeBlock(--order);
    if (block == nullptr) {  // the kernel has no memory behind the reservation
      Free(std::span(out).subspan(first));
      out.resize(first);
      return false;
    }
    used_ += BlockBytes(order);
    const std::size_t extent = std::min(left, BlockBytes(order));
    out.push_back({block, static_cast<std::uint32_t>(extent)});
    left -= extent;
  }
  return true;
}

Extent ExtentArena::Lend(std::size_t bytes_max, std::size_t unit) {
  CHECK(unit > 0 && unit % kBlockBytesMin == 0);
  bytes_max = std::min<std::size_t>({bytes_max, limit_ - used_, kBlockBytesMax});
  Extent lent = LendGap(bytes_max, unit);
  if (lent.bytes == 0) lent = LendBlock(bytes_max, unit, /*touch=*/false);
  if (lent.bytes == 0) lent = LendBlock(bytes_max, unit, /*touch=*/true);
  used_ += lent.bytes;
  // The rest is of more use beside its neighbours.
  if (const std::size_t rest = lent.bytes % unit; rest > 0) {
    lent.bytes -= static_cast<std::uint32_t>(rest);
    std::vector<Extent> extents;
    Carve(lent.data + lent.bytes, rest, extents);
    Free(extents);
  }
  return lent;
}

// The largest block that may be lent.
Extent ExtentArena::LendBlock(std::size_t bytes_max, std::size_t bytes_min, bool touch) {
  if (bytes_max < std::max(bytes_min, kBlockBytesMin)) return {};
  unsigned order = OrderOfBlock(std::bit_floor(bytes_max));
  const auto has_free = [this](unsigned from) {
    return std::any_of(free_.begin() + from, free_.end(), [](auto* block) { return block; });
  };
  if (!touch) {
    while (order > 0 && !has_free(order)) --order;
    if (!has_free(order)) return {};
  }
  if (BlockBytes(order) < bytes_min) return {};
  std::byte* const block = TakeBlock(order);
  if (block == nullptr) return {};
  state_[IndexOf(block)] = kNotAHead;
  return {block, static_cast<std::uint32_t>(BlockBytes(order))};
}

// Free blocks that touch each other, though they are no buddies. Short gaps are looked at before
// long ones, which others may need, and of blocks of one size those that were freed last.
Extent ExtentArena::LendGap(std::size_t bytes_max, std::size_t bytes_min) {
  if (bytes_max < bytes_min) return {};
  const std::size_t most = bytes_max / kBlockBytesMin;
  const std::size_t touched = touched_ / kBlockBytesMin;
  // Of a gap that is long enough, some block is at least a quarter as long.
  const unsigned least = OrderOfBlock(std::bit_floor(std::max(bytes_min / 4, kBlockBytesMin)));
  for (unsigned clue = least; clue < kOrders; ++clue) {
    std::size_t tries = kGapsTried;
    for (FreeBlock* block = free_[clue]; block != nullptr && tries > 0;
         block = block->next, --tries) {
      std::size_t begin = IndexOf(reinterpret_cast<std::byte*>(block));
      std::size_t end = begin + (std::size_t{1} << clue);
      if (end - begin > most) break;
      while (end < touched && (state_[end] & kFreeBit) != 0 && state_[end] != kNotAHead &&
             end + (std::size_t{1} << (state_[end] & ~kFreeBit)) - begin <= most)
        end += std::size_t{1} << (state_[end] & ~kFreeBit);
      for (unsigned order = 0; order < kOrders;) {
        const std::size_t left = std::size_t{1} << order;
        if (begin < left || end - begin + left > most || !IsFree(begin - left, order)) {
          ++order;
        } else {
          begin -= left;
          order = 0;
        }
      }
      if ((end - begin) * kBlockBytesMin < bytes_min) continue;
      for (std::size_t at = begin; at < end;) {
        const unsigned order = state_[at] & ~kFreeBit;
        Remove(base_ + at * kBlockBytesMin, order);
        at += std::size_t{1} << order;
      }
      return {base_ + begin * kBlockBytesMin,
              static_cast<std::uint32_t>((end - begin) * kBlockBytesMin)};
    }
  }
  return {};
}

void ExtentArena::Carve(std::byte* data, std::size_t bytes, std::vector<Extent>& out) {
  while (bytes > 0) {
    const std::size_t at = static_cast<std::size_t>(data - base_);
    CHECK(at % kBlockBytesMin == 0 && at < limit_);
    // The largest block that may begin here and is not longer than what is left.
    std::size_t block = std::min(std::bit_floor(CostOf(bytes)), kBlockBytesMax);
    if (at > 0) block = std::min(block, at & (~at + 1));
    CHECK(state_[IndexOf(data)] == kNotAHead);
    state_[IndexOf(data)] = static_cast<std::uint8_t>(OrderOfBlock(block));
    const std::size_t extent = std::min(bytes, block);
    out.push_back({data, static_cast<std::uint32_t>(extent)});
    data += extent;
    bytes -= extent;
  }
}

void ExtentArena::Free(std::span<const Extent> extents) {
  for (const Extent& extent : extents) {
    const std::size_t bytes = BlockBehind(extent.bytes);
    CHECK(used_ >= bytes);
    used_ -= bytes;
    GiveBlock(extent.data, OrderOfBlock(bytes));
  }
}

// Backs the next block by memory.
bool ExtentArena::Touch() {
  const bool backed = shared_ ? shared_->Prefault(touched_, kBlockBytesMax)
                              : PrefaultMemory(memory_ + touched_, kBlockBytesMax);
  if (!backed) return false;
  Push(base_ + touched_, kOrders - 1);
  touched_ += kBlockBytesMax;
  return true;
}

std::byte* ExtentArena::TakeBlock(unsigned order) {
  unsigned found = order;
  while (found < kOrders && free_[found] == nullptr) ++found;
  if (found == kOrders) {
    if (touched_ == limit_ || !Touch()) return nullptr;
    found = kOrders - 1;
  }
  auto* block = reinterpret_cast<std::byte*>(free_[found]);
  Remove(block, found);
  while (found > order) {
    --found;
    Push(block + BlockBytes(found), found);
  }
  state_[IndexOf(block)] = static_cast<std::uint8_t>(order);
  return block;
}

void ExtentArena::GiveBlock(std::byte* data, unsigned order) {
  CHECK(state_[IndexOf(data)] == order, "freed block was not lent with this size");
  state_[IndexOf(data)] = kNotAHead;
  while (order + 1 < kOrders) {
    const std::size_t offset = static_cast<std::size_t>(data - base_);
    std::byte* buddy = base_ + (offset ^ BlockBytes(order));
    if (state_[IndexOf(buddy)] != (order | kFreeBit)) break;
    Remove(buddy, order);
    data = std::min(data, buddy);
    ++order;
  }
  Push(data, order);
}

void ExtentArena::Push(std::byte* data, unsigned order) {
  auto* block = new (data) FreeBlock{free_[order], nullptr};
  if (free_[order] != nullptr) free_[order]->previous = block;
  free_[order] = block;
  state_[IndexOf(data)] = static_cast<std::uint8_t>(order | kFreeBit);
}

void ExtentArena::Remove(std::byte* data, unsigned order) {
  auto* block = reinterpret_cast<FreeBlock*>(data);
  if (block->previous != nullptr) {
    block->previous->next = block->next;
  } else {
    free_[order] = block->next;
  }
  if (block->next != nullptr) block->next->previous = block->previous;
  state_[IndexOf(data)] = kNotAHead;
}

}  // namespace infinicache::node
