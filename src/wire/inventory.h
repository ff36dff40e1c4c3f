// What a node says of its chunks when a proxy asks (kInventoryReply), and how a proxy tells it of
// their expiries (kSetExpiry): the metadata blocks of these frames, sans I/O.
//
// A page is a sequence of entries, in order of identity (object, version, index):
//
//    0 u32 meta_bytes      12 u64 version       22 u64 stored_bytes
//    4 u64 object          20 u16 index         30 ChunkMeta, meta_bytes long
//
// An expiry list is a sequence of 26 bytes: u64 object, u64 version, u16 index, i64 expires_at_ms.
// Numbers are little-endian. Encodings are canonical.
//
// Thread-safety: free functions on values. Cost: one copy of the key per entry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "wire/frame.h"

namespace infinicache::wire {

// Expiries that no client can set: marks of versions that must not come back when a directory is
// rebuilt from inventories.
inline constexpr std::int64_t kDeletedMark = -1;  // this version and all older ones of its key
inline constexpr std::int64_t kVoidMark = -2;     // this version only: it was never the key's value

struct InventoryEntry {
  ChunkId chunk;
  std::uint64_t stored_bytes = 0;  // of the node's memory
  ChunkMeta meta;

  friend bool operator==(const InventoryEntry&, const InventoryEntry&) = default;
};

// Bytes that AppendInventoryEntry() adds for a key of `key_bytes`. Any entry fits into a frame's
// metadata.
std::size_t InventoryEntryBytes(std::size_t key_bytes);
void AppendInventoryEntry(const InventoryEntry& entry, std::string& out);

// Asks for the page behind the entry `after`, or for the first one.
FrameHeader EncodeInventoryRequest(std::uint64_t request, const std::optional<ChunkId>& after);
// Errors: kProtocol, for bytes that are not a sequence of entries in strictly ascending order.
Result<std::vector<InventoryEntry>> ParseInventoryPage(std::string_view bytes);

struct ChunkExpiry {
  ChunkId chunk;
  std::int64_t expires_at_ms = 0;  // 0: never; or a mark

  friend bool operator==(const ChunkExpiry&, const ChunkExpiry&) = default;
};

// Entries of one frame, at most.
inline constexpr std::size_t kExpiryListMax = 2048;

// REQUIRES: at most kExpiryListMax.
std::string EncodeExpiryList(std::span<const ChunkExpiry> list);
// Errors: kProtocol for a length that is not one of a list.
Result<std::vector<ChunkExpiry>> ParseExpiryList(std::string_view bytes);

// What a kDelete frame names: a sequence of 18 bytes: u64 object, u64 version, u16 index.
inline constexpr std::size_t kChunkListMax = 2048;

// REQUIRES: at most kChunkListMax.
std::string EncodeChunkList(std::span<const ChunkId> chunks);
// Errors: kProtocol for a length that is not one of a list.
Result<std::vector<ChunkId>> ParseChunkList(std::string_view bytes);

}  // namespace infinicache::wire
