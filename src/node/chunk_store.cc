#include "node/chunk_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "coding/crc32c.h"

namespace infinicache::node {
namespace {

// What the strips of a chunk take from an arena. REQUIRES: chunk_bytes + strip_bytes does not
// overflow.
std::uint64_t CostOfStrips(const wire::ChunkMeta& meta) {
  if (meta.chunk_bytes == 0) return 0;
  return meta.chunk_bytes / meta.strip_bytes * ExtentArena::CostOf(meta.strip_bytes) +
         ExtentArena::CostOf(meta.chunk_bytes % meta.strip_bytes);
}

}  // namespace

Chunk::Chunk(std::shared_ptr<ChunkMemory> memory, ChunkId id, wire::ChunkMeta meta)
    : memory_(std::move(memory)), id_(id), meta_(std::move(meta)) {
  memory_->overhead_bytes += ChunkStore::OverheadOf(meta_);
}

Chunk::~Chunk() {
  memory_->arena.Free(extents_);
  memory_->overhead_bytes -= ChunkStore::OverheadOf(meta_);
  memory_->reserved_bytes -= reserved_bytes_;
}

std::uint64_t Chunk::StoredBytes() const {
  return ChunkStore::OverheadOf(meta_) + CostOfStrips(meta_);
}

std::size_t Chunk::StripAt(std::uint64_t offset) const {
  if (meta_.strip_bytes == 0 || offset % meta_.strip_bytes != 0) return strips_.size();
  return std::min<std::size_t>(offset / meta_.strip_bytes, strips_.size());
}

bool Chunk::Verify(const Strip& strip) const {
  std::uint32_t crc = 0;
  for (const Extent& extent : ExtentsOf(strip))
    crc = coding::Crc32c({extent.data, extent.bytes}, crc);
  return crc == strip.crc;
}

std::uint64_t ChunkStore::OverheadOf(const wire::ChunkMeta& meta) {
  return kChunkOverheadBytes + meta.key.size();
}

ChunkStore::ChunkStore(std::uint64_t limit_bytes)
    : memory_(std::make_shared<ChunkMemory>(limit_bytes)) {}

ChunkStore::ChunkStore(SharedMemory memory, std::uint64_t limit_bytes)
    : memory_(std::make_shared<ChunkMemory>(std::move(memory), limit_bytes)) {}

Result<std::shared_ptr<Chunk>> ChunkStore::Begin(const ChunkId& id, wire::ChunkMeta meta) {
  if (meta.chunk_bytes > 0 && (meta.strip_bytes == 0 || meta.strip_bytes > kStripBytesMax)) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("strips of {} bytes", meta.strip_bytes));
  }
  const std::uint64_t chunk_bytes = meta.chunk_bytes;
  const std::uint64_t strip_bytes = meta.strip_bytes;
  const auto full = [&] {
    return Fail(ErrorCode::kOutOfMemory, fmt::format("node is full: {} of {} bytes used, {} wanted",
                                                     bytes_used(), bytes_limit(), chunk_bytes));
  };
  const std::uint64_t free = bytes_limit() - bytes_used();
  // A chunk beyond the limit is refused before its cost is computed, which could overflow.
  if (chunk_bytes > bytes_limit() || ChunkStore::OverheadOf(meta) + CostOfStrips(meta) > free)
    return full();
  auto chunk = std::make_shared<Chunk>(memory_, id, std::move(meta));
  if (chunk_bytes > 0) {
    chunk->strips_.reserve(DivideUp(chunk_bytes, strip_bytes));
    chunk->extents_.reserve(chunk->strips_.capacity());
  }
  for (std::uint64_t offset = 0; offset < chunk_bytes; offset += strip_bytes) {
    Chunk::Strip strip;
    strip.bytes = static_cast<std::uint32_t>(std::min(strip_bytes, chunk_bytes - offset));
    chunk->strips_.push_back(strip);
  }
  // Promised whole now, taken strip by strip: memory that is touched for the first time is zeroed
  // by the kernel, and to do that for a large chunk at once would stop the node for a long time.
  chunk->reserved_bytes_ = CostOfStrips(chunk->meta());
  memory_->reserved_bytes += chunk->reserved_bytes_;
  return chunk;
}

Result<std::span<const Extent>> ChunkStore::NextStrip(Chunk& chunk, std::uint64_t offset,
                                                      std::uint64_t bytes) {
  const std::size_t index = chunk.strips_received_;
  if (index >= chunk.strips_.size() || offset != index * chunk.meta_.strip_bytes ||
      bytes != chunk.strips_[index].bytes) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("strip at offset {} with {} bytes is not the chunk's next", offset, bytes));
  }
  Chunk::Strip& strip = chunk.strips_[index];
  if (strip.extents == 0) {
    strip.first_extent = static_cast<std::uint32_t>(chunk.extents_.size());
    if (!memory_->arena.Allocate(strip.bytes, chunk.extents_))
      return Fail(ErrorCode::kOutOfMemory, "the system has no memory behind the node's limit");
    strip.extents = static_cast<std::uint32_t>(chunk.extents_.size()) - strip.first_extent;
    chunk.reserved_bytes_ -= ExtentArena::CostOf(strip.bytes);
    memory_->reserved_bytes -= ExtentArena::CostOf(strip.bytes);
  }
  return chunk.ExtentsOf(strip);
}

Status ChunkStore::StripReceived(Chunk& chunk, std::uint32_t crc) {
  Chunk::Strip& strip = chunk.strips_[chunk.strips_received_];
  strip.crc = crc;
  if (!chunk.Verify(strip))
    return Fail(ErrorCode::kCorrupt, "strip arrived with another checksum than it was sent with");
  ++chunk.strips_received_;
  return {};
}

void ChunkStore::Commit(std::shared_ptr<Chunk> chunk) {
  CHECK(chunk->IsComplete());
  const ChunkId id = chunk->id();
  chunk->stored_by_ = changes_.Next();
  chunk->last_use_ = ++uses_;
  chunks_.insert_or_assign(id, std::move(chunk));
}

std::shared_ptr<const Chunk> ChunkStore::Find(const ChunkId& id) const {
  const auto found = chunks_.find(id);
  return found == chunks_.end() ? nullptr : found->second;
}

std::shared_ptr<const Chunk> ChunkStore::Use(const ChunkId& id) {
  const auto found = chunks_.find(id);
  if (found == chunks_.end()) return nullptr;
  found->second->last_use_ = ++uses_;
  return found->second;
}

bool ChunkStore::Remove(const ChunkId& id) {
  if (chunks_.erase(id) == 0) return false;
  changes_.NoteRemoved(id);
  return true;
}

void ChunkStore::RemoveCorrupt(const ChunkId& id) {
  if (shared_memory() != nullptr) put_aside_.push_back(Find(id));
  Remove(id);
}

Result<wire::ChunkLocation> ChunkStore::Locate(const ChunkId& id) {
  if (shared_memory() == nullptr) return Fail(ErrorCode::kUnavailable, "memory is not shared");
  const auto chunk = Use(id);
  if (chunk == nullptr) return Fail(ErrorCode::kNotFound, "no such chunk");
  wire::ChunkLocation location;
  for (const Chunk::Strip& strip : chunk->strips()) {
    location.AddStrip(strip.crc);
    for (const Extent& extent : chunk->ExtentsOf(strip))
      location.AddPiece(memory_->arena.OffsetOf(extent), extent.bytes);
  }
  if (location.EncodedBytes() > wire::kFrameMetaBytesMax)
    return Fail(ErrorCode::kTooLarge, "the chunk has too many pieces to name them all");
  return location;
}

void ChunkStore::Lend(std::uint64_t bytes, std::uint64_t unit,
                      std::vector<wire::MemoryRange>& out) {
  CHECK(shared_memory() != nullptr);
  for (const std::uint64_t multiple : {ExtentArena::CostOf(unit), kLentPieceBytes}) {
    while (multiple > 0 && bytes >= multiple && out.size() < wire::kMemoryRangesMax) {
      const std::uint64_t free = bytes_limit() - bytes_used();
      const Extent range = memory_->arena.Lend(std::min(bytes, free), multiple);
      if (range.bytes == 0) break;
      out.push_back({memory_->arena.OffsetOf(range), range.bytes});
      bytes -= range.bytes;
    }
    if (!out.empty()) break;
  }
}

std::uint64_t ChunkStore::LendOverhead(std::uint64_t bytes) {
  bytes = std::min(bytes, bytes_limit() - bytes_used());
  memory_->reserved_bytes += bytes;
  return bytes;
}

void ChunkStore::TakeBack(const wire::MemoryRange& range) {
  std::vector<Extent> extents;
  memory_->arena.Carve(memory_->arena.At(range.offset), range.bytes, extents);
  memory_->arena.Free(extents);
}

void ChunkStore::TakeBackOverhead(std::uint64_t bytes) {
  CHECK(bytes <= memory_->reserved_bytes);
  memory_->reserved_bytes -= bytes;
}

Status ChunkStore::Adopt(wire::StoredChunk stored, std::uint64_t overhead_lent) {
  const wire::ChunkMeta& meta = stored.meta;
  const wire::ChunkLocation& location = stored.location;
  const std::size_t strips =
      meta.chunk_bytes == 0 ? 0 : DivideUp(meta.chunk_bytes, meta.strip_bytes);
  if (meta.chunk_bytes > bytes_limit() || location.strips.size() != strips)
    return Fail(ErrorCode::kInvalidArgument, "not the strips of the chunk");
  std::uint64_t left = meta.chunk_bytes;
  for (const auto& strip : location.strips) {
    std::uint64_t in_strip = std::min<std::uint64_t>(left, meta.strip_bytes);
    left -= in_strip;
    for (const auto& piece : location.PiecesOf(strip)) {
      const bool last = piece.bytes == in_strip;
      if (piece.bytes > in_strip || !ExtentArena::IsAtBlock(piece.offset) ||
          (!last && piece.bytes % ExtentArena::kBlockBytesMin != 0))
        return Fail(ErrorCode::kInvalidArgument, "not a piece of the chunk");
      in_strip -= piece.bytes;
    }
    if (in_strip > 0) return Fail(ErrorCode::kInvalidArgument, "not a strip of the chunk");
  }
  auto chunk = std::make_shared<Chunk>(memory_, stored.chunk, std::move(stored.meta));
  TakeBackOverhead(overhead_lent);
  chunk->strips_.reserve(strips);
  for (const auto& strip : location.strips) {
    const auto first = static_cast<std::uint32_t>(chunk->extents_.size());
    std::uint32_t bytes = 0;
    for (const auto& piece : location.PiecesOf(strip)) {
      memory_->arena.Carve(memory_->arena.At(piece.offset), piece.bytes, chunk->extents_);
      bytes += piece.bytes;
    }
    chunk->strips_.push_back(
        {first, static_cast<std::uint32_t>(chunk->extents_.size()) - first, bytes, strip.crc});
  }
  chunk->strips_received_ = strips;
  Commit(std::move(chunk));
  return {};
}

bool ChunkStore::SetExpiry(const ChunkId& id, std::int64_t expires_at_ms) {
  const auto found = chunks_.find(id);
  if (found == chunks_.end()) return false;
  std::int64_t& noted = found->second->meta_.expires_at_ms;
  if ((noted < 0 && expires_at_ms >= 0) || noted == expires_at_ms) return true;
  noted = expires_at_ms;
  found->second->expiry_set_by_ = changes_.Next();
  return true;
}

std::vector<ChunkId> ChunkStore::Identities() const {
  std::vector<ChunkId> identities;
  identities.reserve(chunks_.size());
  for (const auto& [id, chunk] : chunks_) identities.push_back(id);
  return identities;
}

std::vector<std::shared_ptr<const Chunk>> ChunkStore::Chunks() const {
  std::vector<std::shared_ptr<const Chunk>> chunks;
  chunks.reserve(chunks_.size());
  for (const auto& [id, chunk] : chunks_) chunks.push_back(chunk);
  return chunks;
}

bool ChunkStore::FlipBitForTest(const ChunkId& id, std::uint64_t byte_offset) {
  const auto found = chunks_.find(id);
  if (found == chunks_.end()) return false;
  for (const Extent& extent : found->second->extents_) {
    if (byte_offset < extent.bytes) {
      extent.data[byte_offset] ^= std::byte{1};
      return true;
    }
    byte_offset -= extent.bytes;
  }
  return false;
}

}  // namespace infinicache::node
