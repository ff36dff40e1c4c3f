#include "wire/session_frames.h"

#include <fmt/format.h>

#include "wire/duration_field.h"
#include "wire/little_endian.h"

namespace infinicache::wire {
namespace {

constexpr std::size_t kTotalsBytes = 16;
}  // namespace

FrameHeader EncodePing(SessionId session) {
  FrameHeader header;
  header.type = FrameType::kPing;
  header.request = session.value();
  return header;
}

FrameHeader EncodePong(const Pong& pong) {
  FrameHeader header;
  header.type = FrameType::kPong;
  header.request = pong.session.value();
  header.chunk.object = ObjectId(pong.instance.value());
  header.chunk.version = Version(ToMicroseconds(pong.runs_for));
  header.offset = pong.fill.bytes_used;
  header.length = pong.fill.chunks;
  return header;
}

Pong DecodePong(const FrameHeader& header) {
  return {SessionId(header.request),
          InstanceId(header.chunk.object.value()),
          FromMicroseconds(header.chunk.version.value()),
          {header.offset, header.length}};
}

FrameHeader EncodeSince(Version newest) {
  FrameHeader header;
  header.type = FrameType::kSince;
  header.chunk.version = newest;
  return header;
}

FrameHeader EncodeBye(SessionId session, InstanceId instance, const NodeFill& fill) {
  FrameHeader header;
  header.type = FrameType::kBye;
  header.request = session.value();
  header.chunk.object = ObjectId(instance.value());
  header.offset = fill.bytes_used;
  header.length = fill.chunks;
  return header;
}

std::string EncodeByeTotals(const ByeTotals& totals) {
  std::string bytes;
  AppendNumber(totals.requests, bytes);
  AppendNumber(ToMicroseconds(totals.elapsed), bytes);
  return bytes;
}

Result<ByeTotals> ParseByeTotals(std::string_view bytes) {
  if (bytes.size() != kTotalsBytes) {
    return Fail(ErrorCode::kProtocol,
                fmt::format("the totals of a bye have {} bytes, not 16", bytes.size()));
  }
  ByeTotals totals;
  totals.requests = TakeNumber<std::uint64_t>(bytes);
  totals.elapsed = FromMicroseconds(TakeNumber<std::uint64_t>(bytes));
  return totals;
}

}  // namespace infinicache::wire
