#include "wire/sync_frames.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "wire/duration_field.h"
#include "wire/little_endian.h"

namespace infinicache::wire {
namespace {

constexpr std::size_t kTotalsBytes = 48;

}  // namespace

FrameHeader EncodeSync(const SyncCommand& command) {
  FrameHeader header;
  header.type = FrameType::kSync;
  header.request = command.session.value();
  header.chunk.object = ObjectId(command.other.value());
  header.chunk.version = Version(ToMicroseconds(command.within));
  header.offset = command.bytes_per_second;
  if (command.is_source) header.flags |= kFlagFirst;
  if (command.by_relay) header.flags |= kFlagLast;
  return header;
}

std::string EncodeSyncTarget(const SyncCommand& command) {
  std::string meta(command.token.size(), '\0');
  std::memcpy(meta.data(), command.token.data(), command.token.size());
  return meta + command.address;
}

Result<SyncCommand> DecodeSync(const FrameHeader& header, std::string_view meta) {
  SyncCommand command;
  if (meta.size() < command.token.size() ||
      meta.size() > command.token.size() + kSyncAddressBytesMax) {
    return Fail(
        ErrorCode::kProtocol,
        fmt::format("a sync has {} bytes of metadata, not a token and an address", meta.size()));
  }
  command.session = SessionId(header.request);
  command.other = InstanceId(header.chunk.object.value());
  command.is_source = (header.flags & kFlagFirst) != 0;
  command.by_relay = (header.flags & kFlagLast) != 0;
  command.within = FromMicroseconds(header.chunk.version.value());
  command.bytes_per_second = header.offset;
  std::memcpy(command.token.data(), meta.data(), command.token.size());
  command.address = meta.substr(command.token.size());
  return command;
}

FrameHeader EncodeSyncReport(const SyncReport& report) {
  FrameHeader header;
  header.type = FrameType::kSyncReport;
  header.request = report.session.value();
  header.status = report.failure;
  return header;
}

std::string EncodeSyncTotals(const SyncTotals& totals) {
  const std::array<std::uint64_t, 6> words = {totals.chunks,        totals.chunk_bytes,
                                              totals.traffic_bytes, totals.removals,
                                              totals.expiries,      totals.compared};
  static_assert(sizeof(words) == kTotalsBytes);
  std::string bytes;
  for (const std::uint64_t word : words) AppendNumber(word, bytes);
  return bytes;
}

Result<SyncReport> DecodeSyncReport(const FrameHeader& header, std::string_view meta) {
  if (meta.size() != kTotalsBytes) {
    return Fail(ErrorCode::kProtocol, fmt::format("the totals of a sync report have {} bytes, "
                                                  "not {}",
                                                  meta.size(), kTotalsBytes));
  }
  std::array<std::uint64_t, 6> words{};
  for (std::uint64_t& word : words) word = TakeNumber<std::uint64_t>(meta);
  return SyncReport{SessionId(header.request),
                    header.status,
                    {words[0], words[1], words[2], words[3], words[4], words[5]}};
}

FrameHeader EncodeSyncState(FrameType type, std::uint64_t request, const SyncState& state) {
  FrameHeader header;
  header.type = type;
  header.request = request;
  header.chunk.object = ObjectId(state.source.value());
  header.offset = state.sequence;
  if (state.complete) header.flags = kFlagLast;
  return header;
}

SyncState DecodeSyncState(const FrameHeader& header) {
  return {InstanceId(header.chunk.object.value()), header.offset, (header.flags & kFlagLast) != 0};
}

}  // namespace infinicache::wire
