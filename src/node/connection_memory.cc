// What a link has to do with memory that the proxy uses by itself.
#include <utility>

#include "node/connection.h"
#include "wire/chunk_location.h"
#include "wire/lending.h"

namespace infinicache::node {

using wire::FrameHeader;
using wire::FrameType;

void Connection::HandleLocate(const FrameHeader& header) {
  const auto location = context_.store.Locate(header.chunk);
  ++answered_;
  if (location) {
    ReplyOk(FrameType::kLocated, header, wire::EncodeChunkLocation(*location));
  } else {
    ReplyError(header, location.error());
  }
}

// Whatever is asked now comes behind what the proxy has stored by itself before.
void Connection::DrainLent() {
  if (context_.lender != nullptr) context_.lender->Drain();
}

net::Task<Status> Connection::HandleLend(const FrameHeader& header) {
  const auto meta = co_await ReadMeta(header);
  if (!meta) co_return tl::make_unexpected(meta.error());
  const auto request = wire::DecodeLend(header);
  if (!request) co_return tl::make_unexpected(request.error());
  const auto back = wire::ParseMemoryRanges(*meta);
  if (!back) co_return tl::make_unexpected(back.error());
  if (context_.lender == nullptr) {
    ReplyError(header, {ErrorCode::kUnavailable, "the memory of this node is not shared"});
    co_return Status{};
  }
  const auto lent = context_.lender->Lend(*request, *back);
  if (!lent) {
    ReplyError(header, lent.error());
    co_return Status{};
  }
  FrameHeader answered = header;
  answered.chunk.version = Version(lent->overhead);
  ReplyOk(FrameType::kLent, answered, wire::EncodeMemoryRanges(lent->ranges));
  co_return Status{};
}

}  // namespace infinicache::node
