#include "wire/lending.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "base/check.h"
#include "wire/little_endian.h"

namespace infinicache::wire {
namespace {

constexpr std::size_t kRingStride = RoundUp(kLendRingBytes, kPageBytes);
constexpr std::size_t kRangeBytes = 16;
constexpr std::size_t kRecordFixedBytes = 8 + 8 + 2 + 4;

}  // namespace

std::uint64_t MemoryBytesWithRings(std::uint64_t chunk_memory_bytes) {
  return RoundUp(chunk_memory_bytes, kPageBytes) + kLendAccounts * kRingStride;
}

std::span<std::byte> LendRing(std::span<std::byte> memory, std::uint16_t account) {
  CHECK(account < kLendAccounts && memory.size() >= kLendAccounts * kRingStride);
  return memory.last((kLendAccounts - account) * kRingStride).first(kLendRingBytes);
}

std::string EncodeMemoryRanges(std::span<const MemoryRange> ranges) {
  CHECK(ranges.size() <= kMemoryRangesMax);
  std::string out;
  out.reserve(ranges.size() * kRangeBytes);
  for (const MemoryRange& range : ranges) {
    AppendNumber(range.offset, out);
    AppendNumber(range.bytes, out);
  }
  return out;
}

Result<std::vector<MemoryRange>> ParseMemoryRanges(std::string_view bytes) {
  if (bytes.size() % kRangeBytes != 0 || bytes.size() / kRangeBytes > kMemoryRangesMax)
    return Fail(ErrorCode::kProtocol, fmt::format("ranges of memory in {} bytes", bytes.size()));
  std::vector<MemoryRange> ranges;
  ranges.reserve(bytes.size() / kRangeBytes);
  while (!bytes.empty()) {
    MemoryRange range;
    range.offset = TakeNumber<std::uint64_t>(bytes);
    range.bytes = TakeNumber<std::uint64_t>(bytes);
    if (range.bytes == 0 || range.bytes > std::numeric_limits<std::uint64_t>::max() - range.offset)
      return Fail(ErrorCode::kProtocol,
                  fmt::format("a range of memory {}+{}", range.offset, range.bytes));
    ranges.push_back(range);
  }
  return ranges;
}

FrameHeader EncodeLend(std::uint64_t request, const LendRequest& lend) {
  FrameHeader header;
  header.type = FrameType::kLend;
  header.request = request;
  header.chunk = {ObjectId(lend.owner), Version(lend.loan), lend.account};
  header.offset = lend.bytes;
  header.length = lend.unit;
  return header;
}

Result<LendRequest> DecodeLend(const FrameHeader& header) {
  if (header.chunk.index >= kLendAccounts)
    return Fail(ErrorCode::kProtocol, fmt::format("no account {} to lend to", header.chunk.index));
  return LendRequest{.owner = header.chunk.object.value(),
                     .account = header.chunk.index,
                     .loan = header.chunk.version.value(),
                     .bytes = header.offset,
                     .unit = header.length};
}

std::string EncodeStoredChunk(const ChunkId& chunk, const ChunkMeta& meta,
                              const ChunkLocation& location) {
  std::string out;
  out.reserve(kRecordFixedBytes + ChunkMetaBytes(meta.key.size()) + location.EncodedBytes());
  AppendNumber(chunk.object.value(), out);
  AppendNumber(chunk.version.value(), out);
  AppendNumber(chunk.index, out);
  AppendNumber(static_cast<std::uint32_t>(ChunkMetaBytes(meta.key.size())), out);
  AppendChunkMeta(meta, out);
  AppendChunkLocation(location, out);
  return out;
}

Result<StoredChunk> ParseStoredChunk(std::string_view bytes) {
  if (bytes.size() < kRecordFixedBytes)
    return Fail(ErrorCode::kProtocol, fmt::format("a stored chunk in {} bytes", bytes.size()));
  StoredChunk stored;
  stored.chunk.object = ObjectId(TakeNumber<std::uint64_t>(bytes));
  stored.chunk.version = Version(TakeNumber<std::uint64_t>(bytes));
  stored.chunk.index = TakeNumber<std::uint16_t>(bytes);
  const std::size_t meta_bytes = TakeNumber<std::uint32_t>(bytes);
  if (meta_bytes > bytes.size())
    return Fail(ErrorCode::kProtocol,
                fmt::format("metadata of {} bytes in {}", meta_bytes, bytes.size()));
  auto meta = ParseChunkMeta(bytes.substr(0, meta_bytes));
  if (!meta) return tl::make_unexpected(meta.error());
  auto location = ParseChunkLocation(bytes.substr(meta_bytes));
  if (!location) return tl::make_unexpected(location.error());
  stored.meta = std::move(*meta);
  stored.location = std::move(*location);
  return stored;
}

}  // namespace infinicache::wire
