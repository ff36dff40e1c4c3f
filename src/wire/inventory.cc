#include "wire/inventory.h"

#include <fmt/format.h>

#include "base/check.h"
#include "wire/little_endian.h"

namespace infinicache::wire {
namespace {

constexpr std::size_t kEntryFixedBytes = 4 + 8 + 8 + 2 + 8;
constexpr std::size_t kChunkIdBytes = 8 + 8 + 2;
constexpr std::size_t kExpiryBytes = 8 + 8 + 2 + 8;
static_assert(kExpiryListMax * kExpiryBytes <= kFrameMetaBytesMax);

void AppendChunkId(const ChunkId& chunk, std::string& out) {
  AppendNumber(chunk.object.value(), out);
  AppendNumber(chunk.version.value(), out);
  AppendNumber(chunk.index, out);
}

ChunkId TakeChunkId(std::string_view& bytes) {
  const ObjectId object(TakeNumber<std::uint64_t>(bytes));
  const Version version(TakeNumber<std::uint64_t>(bytes));
  return {object, version, TakeNumber<std::uint16_t>(bytes)};
}

tl::unexpected<Error> BadInventory(std::string_view what) {
  return Fail(ErrorCode::kProtocol, fmt::format("bad inventory: {}", what));
}

}  // namespace

std::size_t InventoryEntryBytes(std::size_t key_bytes) {
  return kEntryFixedBytes + ChunkMetaBytes(key_bytes);
}

void AppendInventoryEntry(const InventoryEntry& entry, std::string& out) {
  AppendNumber(static_cast<std::uint32_t>(ChunkMetaBytes(entry.meta.key.size())), out);
  AppendChunkId(entry.chunk, out);
  AppendNumber(entry.stored_bytes, out);
  AppendChunkMeta(entry.meta, out);
}

FrameHeader EncodeInventoryRequest(std::uint64_t request, const std::optional<ChunkId>& after) {
  FrameHeader header;
  header.type = FrameType::kInventory;
  header.request = request;
  if (after) {
    header.chunk = *after;
  } else {
    header.flags = kFlagFirst;
  }
  return header;
}

Result<std::vector<InventoryEntry>> ParseInventoryPage(std::string_view bytes) {
  std::vector<InventoryEntry> entries;
  while (!bytes.empty()) {
    if (bytes.size() < kEntryFixedBytes)
      return BadInventory(fmt::format("{} bytes behind the last entry", bytes.size()));
    InventoryEntry entry;
    const auto meta_bytes = TakeNumber<std::uint32_t>(bytes);
    entry.chunk = TakeChunkId(bytes);
    entry.stored_bytes = TakeNumber<std::uint64_t>(bytes);
    if (meta_bytes > bytes.size()) {
      return BadInventory(
          fmt::format("metadata of {} bytes stated, {} there", meta_bytes, bytes.size()));
    }
    auto meta = ParseChunkMeta(bytes.substr(0, meta_bytes));
    if (!meta) return tl::make_unexpected(meta.error());
    bytes.remove_prefix(meta_bytes);
    entry.meta = std::move(*meta);
    if (!entries.empty() && entry.chunk <= entries.back().chunk)
      return BadInventory("entries are not in ascending order");
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::string EncodeExpiryList(std::span<const ChunkExpiry> list) {
  CHECK(list.size() <= kExpiryListMax, "{} entries", list.size());
  std::string out;
  out.reserve(list.size() * kExpiryBytes);
  for (const ChunkExpiry& entry : list) {
    AppendChunkId(entry.chunk, out);
    AppendNumber(static_cast<std::uint64_t>(entry.expires_at_ms), out);
  }
  return out;
}

Result<std::vector<ChunkExpiry>> ParseExpiryList(std::string_view bytes) {
  if (bytes.size() % kExpiryBytes != 0 || bytes.size() / kExpiryBytes > kExpiryListMax)
    return Fail(ErrorCode::kProtocol, "expiry list has a bad length");
  std::vector<ChunkExpiry> list;
  list.reserve(bytes.size() / kExpiryBytes);
  while (!bytes.empty()) {
    const ChunkId chunk = TakeChunkId(bytes);
    list.push_back({chunk, static_cast<std::int64_t>(TakeNumber<std::uint64_t>(bytes))});
  }
  return list;
}

std::string EncodeChunkList(std::span<const ChunkId> chunks) {
  CHECK(chunks.size() <= kChunkListMax, "{} entries", chunks.size());
  std::string out;
  out.reserve(chunks.size() * kChunkIdBytes);
  for (const ChunkId& chunk : chunks) AppendChunkId(chunk, out);
  return out;
}

Result<std::vector<ChunkId>> ParseChunkList(std::string_view bytes) {
  if (bytes.size() % kChunkIdBytes != 0)
    return Fail(ErrorCode::kProtocol, "delete list has a bad length");
  std::vector<ChunkId> chunks;
  chunks.reserve(bytes.size() / kChunkIdBytes);
  while (!bytes.empty()) chunks.push_back(TakeChunkId(bytes));
  return chunks;
}

}  // namespace infinicache::wire
