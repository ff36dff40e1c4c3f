#include "wire/inventory.h"

#include <fmt/format.h>

#include <concepts>

#include "base/check.h"

namespace infinicache::wire {
namespace {

constexpr std::size_t kEntryFixedBytes = 4 + 8 + 8 + 2 + 8;
constexpr std::size_t kChunkIdBytes = 8 + 8 + 2;
constexpr std::size_t kExpiryBytes = 8 + 8 + 2 + 8;
static_assert(kExpiryListMax * kExpiryBytes <= kFrameMetaBytesMax);

template <std::unsigned_integral T>
void Append(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

// REQUIRES: `bytes` has as many.
template <std::unsigned_integral T>
T Take(std::string_view& bytes) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value =
        static_cast<T>(value | static_cast<T>(T{static_cast<unsigned char>(bytes[i])} << (8 * i)));
  bytes.remove_prefix(sizeof(T));
  return value;
}

void AppendChunkId(const ChunkId& chunk, std::string& out) {
  Append(out, chunk.object.value());
  Append(out, chunk.version.value());
  Append(out, chunk.index);
}

ChunkId TakeChunkId(std::string_view& bytes) {
  const ObjectId object(Take<std::uint64_t>(bytes));
  const Version version(Take<std::uint64_t>(bytes));
  return {object, version, Take<std::uint16_t>(bytes)};
}

tl::unexpected<Error> BadInventory(std::string_view what) {
  return Fail(ErrorCode::kProtocol, fmt::format("bad inventory: {}", what));
}

}  // namespace

std::size_t InventoryEntryBytes(std::size_t key_bytes) {
  return kEntryFixedBytes + ChunkMetaBytes(key_bytes);
}

void AppendInventoryEntry(const InventoryEntry& entry, std::string& out) {
  Append(out, static_cast<std::uint32_t>(ChunkMetaBytes(entry.meta.key.size())));
  AppendChunkId(entry.chunk, out);
  Append(out, entry.stored_bytes);
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
    const auto meta_bytes = Take<std::uint32_t>(bytes);
    entry.chunk = TakeChunkId(bytes);
    entry.stored_bytes = Take<std::uint64_t>(bytes);
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
    Append(out, static_cast<std::uint64_t>(entry.expires_at_ms));
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
    list.push_back({chunk, static_cast<std::int64_t>(Take<std::uint64_t>(bytes))});
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
