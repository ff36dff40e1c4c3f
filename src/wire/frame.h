// The node protocol's frame codec, sans I/O: bytes in, values out.
//
// Every message between proxy and node, and between two instances of a node, is a frame: a header
// of 64 bytes and payload_bytes of payload behind it. The first meta_bytes of the payload are
// metadata (a ChunkMeta, a hello, an inventory: whatever the type says), the rest is chunk data.
// All numbers are little-endian:
//
//    0 u16 magic 0x4349 ("IC")    16 u64 object        40 u64 offset
//    2 u8  type                   24 u64 version       48 u64 length
//    3 u8  flags                  32 u16 index         56 u32 payload_crc
//    4 u32 payload_bytes          34 u8  status        60 u32 header_crc
//    8 u64 request                35 u8  0
//                                 36 u32 meta_bytes
//
// header_crc is the CRC32C of bytes 0..59. payload_crc is carried, not computed here: the sender
// knows a strip's checksum since the strip was coded, and whoever touches the payload with a CPU
// verifies it. The encoding is canonical: a header that decodes encodes to the same bytes.
//
// A frame that does not decode leaves the stream without a known next frame: close the link.
//
// Thread-safety: free functions on values. Cost: about 20 ns per header, no allocation; a ChunkMeta
// costs one copy of the key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/result.h"

namespace infinicache::wire {

inline constexpr std::size_t kFrameHeaderBytes = 64;
inline constexpr std::uint32_t kFrameMetaBytesMax = 64 * kKiB;
// One strip, and the metadata in front of it.
inline constexpr std::uint32_t kFramePayloadBytesMax = kStripBytesMax + kFrameMetaBytesMax;

// The numbers are the protocol: append, never renumber.
enum class FrameType : std::uint8_t {
  kHello = 1,
  kChallenge,
  kAuth,
  kWelcome,
  kPut,
  kStored,
  kGet,
  kData,
  kCancel,
  kDelete,
  kDeleted,
  kError,
  kAbort,
  kPing,
  kPong,
  kStats,
  kStatsReply,
  kInventory,
  kInventoryReply,
  kBye,
  kCorruptForTest,
  kSetExpiry,
  kExpirySet,
  kSync,
  kSyncReport,
  kSyncOpen,
  kSyncClose,
  kSyncState,
  kLocate,
  kLocated,
  kSince,
  kLend,
  kLent,
};
inline constexpr FrameType kFrameTypeLast = FrameType::kLent;

// Name of `type` for logs ("put", "inventory_reply"); "unknown" for a number without a name.
std::string_view FrameTypeName(FrameType type);

inline constexpr std::uint8_t kFlagFirst = 1;  // first frame of a sequence (a chunk's first strip)
inline constexpr std::uint8_t kFlagLast = 2;   // last frame of a sequence; may be the first as well
inline constexpr std::uint8_t kFlagsKnown = kFlagFirst | kFlagLast;

struct FrameHeader {
  FrameType type = FrameType::kPing;
  std::uint8_t flags = 0;
  std::optional<ErrorCode> status = {};  // empty: ok
  std::uint32_t payload_bytes = 0;       // of the whole payload; <= kFramePayloadBytesMax
  std::uint32_t meta_bytes = 0;  // of its metadata part; <= payload_bytes, kFrameMetaBytesMax
  std::uint64_t request = 0;     // chosen by the requester, repeated in every answer
  ChunkId chunk = {};
  std::uint64_t offset = 0;  // in bytes of the chunk
  std::uint64_t length = 0;  // in bytes of the chunk; offset + length < 2^64
  std::uint32_t payload_crc = 0;

  friend bool operator==(const FrameHeader&, const FrameHeader&) = default;
};

// REQUIRES: every limit named at FrameHeader's fields holds, the type and the flags are known.
void EncodeFrameHeader(const FrameHeader& header, std::span<std::byte, kFrameHeaderBytes> out);

// Errors: kProtocol, naming the field that is wrong and its value. A flipped bit shows as "header
// checksum"; the other messages mean that the peer speaks another protocol or another version.
Result<FrameHeader> DecodeFrameHeader(std::span<const std::byte, kFrameHeaderBytes> bytes);

// What a node keeps beside a chunk, so that a restarted proxy can rebuild its directory from the
// nodes' inventories. It is the metadata of a chunk's first kPut frame.
struct ChunkMeta {
  std::string key = {};            // <= kKeyBytesMax; any bytes
  std::uint64_t object_bytes = 0;  // of the whole object
  std::uint64_t chunk_bytes = 0;   // of this chunk as it is stored
  std::uint32_t strip_bytes = 0;   // <= kStripBytesMax; 0 only if chunk_bytes is 0
  std::uint8_t data = 1;           // d >= 1
  std::uint8_t parity = 0;         // p; d + p <= kCodeWidthMax
  std::int64_t expires_at_ms = 0;  // milliseconds since 1970; 0: never

  friend bool operator==(const ChunkMeta&, const ChunkMeta&) = default;
};

// Bytes that AppendChunkMeta() adds for a key of `key_bytes`.
std::size_t ChunkMetaBytes(std::size_t key_bytes);

// Appends the encoding of `meta` to `out`. REQUIRES: the limits named at ChunkMeta's fields.
void AppendChunkMeta(const ChunkMeta& meta, std::string& out);

// REQUIRES: nothing; `bytes` must be exactly one block. Errors: kProtocol, naming what is wrong.
Result<ChunkMeta> ParseChunkMeta(std::string_view bytes);

}  // namespace infinicache::wire
