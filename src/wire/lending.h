// How a proxy writes chunks into a node's memory by itself (docs/adr/0020-mapped-writes.md), sans
// I/O: the frames by which the node lends it memory, the records by which it says what is there
// now, and where in the shared memory these records are.
//
// A kLend frame asks for memory, and gives some back; kLent answers with what is lent:
//
//   kLend   object  the owner: a number of the proxy's process
//           index   the account: the number of its event loop
//           version the loan: grows with each connection; a new one says that nothing is held any
//                   more of the one before
//           offset  bytes of memory wanted; 0: the node only is to look at its records
//           length  unit: bytes of which ranges should be multiples
//   kLent   version bytes of overhead that are lent: what chunks take of the limit beside their
//                   strips
//           offset, length  the node's fill, as in every short answer
//
// Metadata of both: ranges, given back or lent, each u64 offset, u64 bytes from the start of the
// memory.
//
// A record is one stored chunk:
//
//    0 u64 object   8 u64 version   16 u16 index   18 u32 meta_bytes   22 ChunkMeta, ChunkLocation
//
// Records are in a RecordRing of the account, behind the memory for chunks. Numbers are
// little-endian; encodings are canonical.
//
// Thread-safety: free functions on values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/map_memory.h"
#include "base/record_ring.h"
#include "base/result.h"
#include "wire/chunk_location.h"
#include "wire/frame.h"

namespace infinicache::wire {

inline constexpr std::uint16_t kLendAccounts = 32;
inline constexpr std::size_t kLendRingBytes = RecordRing::kHeaderBytes + 128 * kKiB;

// Overhead that a node of this limit lends to one account. It is filled up to that by each request
// for memory that finds half of it left, or less.
constexpr std::uint64_t LendOverhead(std::uint64_t bytes_limit) {
  return std::min<std::uint64_t>(64 * kKiB, bytes_limit / 512);
}

// Ranges that a node of this limit lends to one account at a time, at most.
constexpr std::uint64_t LendBytesMax(std::uint64_t bytes_limit) {
  return bytes_limit / 2;
}

// What memory that `chunk_memory_bytes` of chunks are in has in all.
std::uint64_t MemoryBytesWithRings(std::uint64_t chunk_memory_bytes);
// The ring of an account. REQUIRES: memory.size() is of MemoryBytesWithRings, account <
// kLendAccounts.
std::span<std::byte> LendRing(std::span<std::byte> memory, std::uint16_t account);

struct MemoryRange {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;  // > 0; offset + bytes < 2^64

  friend bool operator==(const MemoryRange&, const MemoryRange&) = default;
};

// Ranges of one frame, at most.
inline constexpr std::size_t kMemoryRangesMax = 2048;

// REQUIRES: at most kMemoryRangesMax.
std::string EncodeMemoryRanges(std::span<const MemoryRange> ranges);
// Errors: kProtocol.
Result<std::vector<MemoryRange>> ParseMemoryRanges(std::string_view bytes);

struct LendRequest {
  std::uint64_t owner = 0;
  std::uint16_t account = 0;
  std::uint64_t loan = 0;
  std::uint64_t bytes = 0;
  std::uint64_t unit = 0;

  friend bool operator==(const LendRequest&, const LendRequest&) = default;
};

FrameHeader EncodeLend(std::uint64_t request, const LendRequest& lend);
// Errors: kProtocol for an account that cannot be.
Result<LendRequest> DecodeLend(const FrameHeader& header);

struct StoredChunk {
  ChunkId chunk;
  ChunkMeta meta;
  ChunkLocation location;

  friend bool operator==(const StoredChunk&, const StoredChunk&) = default;
};

// REQUIRES: the limits named at ChunkMeta's fields.
std::string EncodeStoredChunk(const ChunkId& chunk, const ChunkMeta& meta,
                              const ChunkLocation& location);
// Errors: kProtocol.
Result<StoredChunk> ParseStoredChunk(std::string_view bytes);

}  // namespace infinicache::wire
