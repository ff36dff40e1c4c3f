#include "wire/frame.h"

#include <fmt/format.h>

#include <array>
#include <concepts>
#include <limits>

#include "base/check.h"
#include "wire/header_crc.h"

namespace infinicache::wire {
namespace {

constexpr std::uint16_t kMagic = 0x4349;  // "IC" in memory
constexpr std::size_t kCrcOffset = 60;
constexpr std::uint8_t kStatusLast = 1 + static_cast<std::uint8_t>(ErrorCode::kInternal);

constexpr std::uint8_t kChunkMetaVersion = 1;
// u8 version, u8 data, u8 parity, u8 0, u32 strip_bytes, u64 object_bytes, u64 chunk_bytes,
// i64 expires_at_ms, u32 key_bytes; then the key.
constexpr std::size_t kChunkMetaFixedBytes = 36;

constexpr std::array<std::string_view, static_cast<std::size_t>(kFrameTypeLast) + 1> kTypeNames = {
    "unknown",    "hello",
    "challenge",  "auth",
    "welcome",    "put",
    "stored",     "get",
    "data",       "cancel",
    "delete",     "deleted",
    "error",      "abort",
    "ping",       "pong",
    "stats",      "stats_reply",
    "inventory",  "inventory_reply",
    "bye",        "corrupt_for_test",
    "set_expiry", "expiry_set",
    "sync",       "sync_report",
    "sync_open",  "sync_close",
    "sync_state", "locate",
    "located",    "since",
    "lend",       "lent",
};

// Byte by byte, so that the host's endianness does not matter; compilers make one store of it.
template <std::unsigned_integral T>
void Store(std::byte* out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    out[i] = static_cast<std::byte>(value >> (8 * i));
  }
}

template <std::unsigned_integral T>
T Load(const std::byte* in) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value | static_cast<T>(std::to_integer<T>(in[i]) << (8 * i)));
  }
  return value;
}

bool KnownType(std::uint8_t type) {
  return type >= static_cast<std::uint8_t>(FrameType::kHello) &&
         type <= static_cast<std::uint8_t>(kFrameTypeLast);
}

// What is wrong with the bounds of `header`; empty if nothing.
std::string BoundsViolation(const FrameHeader& header) {
  if (header.payload_bytes > kFramePayloadBytesMax) {
    return fmt::format("payload of {} bytes, at most {}", header.payload_bytes,
                       kFramePayloadBytesMax);
  }
  if (header.meta_bytes > kFrameMetaBytesMax) {
    return fmt::format("metadata of {} bytes, at most {}", header.meta_bytes, kFrameMetaBytesMax);
  }
  if (header.meta_bytes > header.payload_bytes) {
    return fmt::format("metadata of {} bytes in a payload of {}", header.meta_bytes,
                       header.payload_bytes);
  }
  if (header.length > std::numeric_limits<std::uint64_t>::max() - header.offset) {
    return fmt::format("range {}+{} overflows", header.offset, header.length);
  }
  return {};
}

// What is wrong with `meta`; empty if nothing.
std::string MetaViolation(const ChunkMeta& meta) {
  if (meta.key.size() > kKeyBytesMax) {
    return fmt::format("key of {} bytes, at most {}", meta.key.size(), kKeyBytesMax);
  }
  if (meta.data < 1 || std::size_t{meta.data} + meta.parity > kCodeWidthMax) {
    return fmt::format("code {}+{}, at least 1+0 and at most {} in all", meta.data, meta.parity,
                       kCodeWidthMax);
  }
  if (meta.strip_bytes > kStripBytesMax || (meta.strip_bytes == 0 && meta.chunk_bytes != 0)) {
    return fmt::format("strips of {} bytes, 1 to {}", meta.strip_bytes, kStripBytesMax);
  }
  return {};
}

tl::unexpected<Error> BadFrame(std::string_view what) {
  return Fail(ErrorCode::kProtocol, fmt::format("bad frame: {}", what));
}

tl::unexpected<Error> BadMeta(std::string_view what) {
  return Fail(ErrorCode::kProtocol, fmt::format("bad chunk metadata: {}", what));
}

}  // namespace

std::string_view FrameTypeName(FrameType type) {
  const auto index = static_cast<std::size_t>(type);
  return index < kTypeNames.size() ? kTypeNames[index] : kTypeNames[0];
}

void EncodeFrameHeader(const FrameHeader& header, std::span<std::byte, kFrameHeaderBytes> out) {
  CHECK(KnownType(static_cast<std::uint8_t>(header.type)));
  CHECK((header.flags & ~kFlagsKnown) == 0, "flags {:#x}", header.flags);
  const std::string violation = BoundsViolation(header);
  CHECK(violation.empty(), "{}", violation);
  std::byte* const at = out.data();
  Store<std::uint16_t>(at, kMagic);
  Store<std::uint8_t>(at + 2, static_cast<std::uint8_t>(header.type));
  Store<std::uint8_t>(at + 3, header.flags);
  Store<std::uint32_t>(at + 4, header.payload_bytes);
  Store<std::uint64_t>(at + 8, header.request);
  Store<std::uint64_t>(at + 16, header.chunk.object.value());
  Store<std::uint64_t>(at + 24, header.chunk.version.value());
  Store<std::uint16_t>(at + 32, header.chunk.index);
  const std::uint8_t status =
      header.status ? static_cast<std::uint8_t>(1 + static_cast<std::uint8_t>(*header.status)) : 0;
  Store<std::uint8_t>(at + 34, status);
  Store<std::uint8_t>(at + 35, 0);
  Store<std::uint32_t>(at + 36, header.meta_bytes);
  Store<std::uint64_t>(at + 40, header.offset);
  Store<std::uint64_t>(at + 48, header.length);
  Store<std::uint32_t>(at + 56, header.payload_crc);
  Store<std::uint32_t>(at + kCrcOffset, HeaderCrc32c(out.first(kCrcOffset)));
}

Result<FrameHeader> DecodeFrameHeader(std::span<const std::byte, kFrameHeaderBytes> bytes) {
  const std::byte* const at = bytes.data();
  // The magic comes before the checksum: a peer that speaks something else is told so.
  if (const auto magic = Load<std::uint16_t>(at); magic != kMagic) {
    return BadFrame(fmt::format("magic {:#06x}, expected {:#06x}", magic, kMagic));
  }
  const std::uint32_t crc = HeaderCrc32c(bytes.first(kCrcOffset));
  if (const auto stated = Load<std::uint32_t>(at + kCrcOffset); stated != crc) {
    return BadFrame(fmt::format("header checksum {:#010x}, computed {:#010x}", stated, crc));
  }
  const auto type = Load<std::uint8_t>(at + 2);
  if (!KnownType(type)) return BadFrame(fmt::format("unknown type {}", type));
  const auto flags = Load<std::uint8_t>(at + 3);
  if ((flags & ~kFlagsKnown) != 0) return BadFrame(fmt::format("unknown flags {:#04x}", flags));
  const auto status = Load<std::uint8_t>(at + 34);
  if (status > kStatusLast) return BadFrame(fmt::format("unknown status {}", status));
  if (const auto reserved = Load<std::uint8_t>(at + 35); reserved != 0) {
    return BadFrame(fmt::format("reserved byte {:#04x}, expected 0", reserved));
  }

  FrameHeader header;
  header.type = static_cast<FrameType>(type);
  header.flags = flags;
  if (status != 0) header.status = static_cast<ErrorCode>(status - 1);
  header.payload_bytes = Load<std::uint32_t>(at + 4);
  header.meta_bytes = Load<std::uint32_t>(at + 36);
  header.request = Load<std::uint64_t>(at + 8);
  header.chunk = {ObjectId(Load<std::uint64_t>(at + 16)), Version(Load<std::uint64_t>(at + 24)),
                  Load<std::uint16_t>(at + 32)};
  header.offset = Load<std::uint64_t>(at + 40);
  header.length = Load<std::uint64_t>(at + 48);
  header.payload_crc = Load<std::uint32_t>(at + 56);
  if (const std::string violation = BoundsViolation(header); !violation.empty()) {
    return BadFrame(violation);
  }
  return header;
}

std::size_t ChunkMetaBytes(std::size_t key_bytes) {
  return kChunkMetaFixedBytes + key_bytes;
}

void AppendChunkMeta(const ChunkMeta& meta, std::string& out) {
  const std::string violation = MetaViolation(meta);
  CHECK(violation.empty(), "{}", violation);
  std::array<std::byte, kChunkMetaFixedBytes> fixed;
  std::byte* const at = fixed.data();
  Store<std::uint8_t>(at, kChunkMetaVersion);
  Store<std::uint8_t>(at + 1, meta.data);
  Store<std::uint8_t>(at + 2, meta.parity);
  Store<std::uint8_t>(at + 3, 0);
  Store<std::uint32_t>(at + 4, meta.strip_bytes);
  Store<std::uint64_t>(at + 8, meta.object_bytes);
  Store<std::uint64_t>(at + 16, meta.chunk_bytes);
  Store<std::uint64_t>(at + 24, static_cast<std::uint64_t>(meta.expires_at_ms));
  Store<std::uint32_t>(at + 32, static_cast<std::uint32_t>(meta.key.size()));
  out.append(reinterpret_cast<const char*>(fixed.data()), fixed.size());
  out.append(meta.key);
}

Result<ChunkMeta> ParseChunkMeta(std::string_view bytes) {
  if (bytes.empty()) return BadMeta("empty");
  const auto* const at = reinterpret_cast<const std::byte*>(bytes.data());
  if (const auto version = Load<std::uint8_t>(at); version != kChunkMetaVersion) {
    return BadMeta(fmt::format("version {}, expected {}", version, kChunkMetaVersion));
  }
  if (bytes.size() < kChunkMetaFixedBytes) {
    return BadMeta(fmt::format("{} bytes, at least {}", bytes.size(), kChunkMetaFixedBytes));
  }
  const std::string_view key = bytes.substr(kChunkMetaFixedBytes);
  if (const auto stated = Load<std::uint32_t>(at + 32); stated != key.size()) {
    return BadMeta(fmt::format("key of {} bytes stated, {} there", stated, key.size()));
  }
  if (const auto reserved = Load<std::uint8_t>(at + 3); reserved != 0) {
    return BadMeta(fmt::format("reserved byte {:#04x}, expected 0", reserved));
  }
  ChunkMeta meta;
  meta.key = key;
  meta.data = Load<std::uint8_t>(at + 1);
  meta.parity = Load<std::uint8_t>(at + 2);
  meta.strip_bytes = Load<std::uint32_t>(at + 4);
  meta.object_bytes = Load<std::uint64_t>(at + 8);
  meta.chunk_bytes = Load<std::uint64_t>(at + 16);
  meta.expires_at_ms = static_cast<std::int64_t>(Load<std::uint64_t>(at + 24));
  if (const std::string violation = MetaViolation(meta); !violation.empty()) {
    return BadMeta(violation);
  }
  return meta;
}

}  // namespace infinicache::wire
