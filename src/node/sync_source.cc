#include "node/sync_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <utility>

namespace infinicache::node {
namespace {

using wire::FrameHeader;
using wire::FrameType;

}  // namespace

SyncSource::SyncSource(ChunkStore& store, InstanceId self, net::Socket& socket, TimePoint deadline,
                       std::uint64_t bytes_per_second)
    : store_(store),
      self_(self),
      socket_(socket),
      reader_(socket, 4 * kKiB),
      deadline_(deadline),
      cutoff_(socket.loop()),
      rate_(bytes_per_second, kBurstBytes) {}

net::Task<Status> SyncSource::Run() {
  const std::uint64_t moved = socket_.bytes_read() + socket_.bytes_written();
  cutoff_.Start(std::max(deadline_ - net::EventLoop::Now(), Duration(0)),
                [this] { socket_.Shutdown(); });
  Status status = co_await Sync();
  cutoff_.Cancel();
  totals_.traffic_bytes = socket_.bytes_read() + socket_.bytes_written() - moved;
  if (!status && net::EventLoop::Now() >= deadline_)
    co_return Fail(ErrorCode::kDeadlineExceeded, "the round took too long");
  co_return status;
}

net::Task<Status> SyncSource::Sync() {
  const auto theirs = co_await AskState(FrameType::kSyncOpen, {self_, 0, false});
  if (!theirs) co_return tl::make_unexpected(theirs.error());
  auto planned = co_await Plan(*theirs);
  if (!planned) co_return tl::make_unexpected(planned.error());
  SyncPlan plan = std::move(*planned);
  // Removals first: they make room.
  if (auto sent = co_await SendRemovals(std::move(plan.removed)); !sent) co_return sent;
  if (auto sent = co_await SendExpiries(std::move(plan.expiries)); !sent) co_return sent;
  for (const ChunkId& id : plan.chunks) {
    const auto chunk = store_.Find(id);
    if (chunk == nullptr) continue;  // removed meanwhile: the next round tells
    if (auto sent = co_await SendChunk(*chunk); !sent) co_return sent;
    if (refusal_) co_return tl::make_unexpected(*refusal_);
  }
  if (auto status = co_await AwaitAnswers(0, 0); !status) co_return status;
  if (refusal_) co_return tl::make_unexpected(*refusal_);
  const auto closed = co_await AskState(FrameType::kSyncClose, {self_, plan.sequence, false});
  if (!closed) co_return tl::make_unexpected(closed.error());
  if (!closed->complete || closed->source != self_)
    co_return Fail(ErrorCode::kUnavailable, "the peer was changed by others meanwhile");
  co_return Status{};
}

net::Task<Result<wire::SyncState>> SyncSource::AskState(FrameType type,
                                                        const wire::SyncState& state) {
  const FrameHeader header = wire::EncodeSyncState(type, ++last_request_, state);
  if (auto sent = co_await Send(header, {}); !sent) co_return tl::make_unexpected(sent.error());
  const auto answer = co_await Receive();
  if (!answer) co_return tl::make_unexpected(answer.error());
  if (answer->header.type != FrameType::kSyncState)
    co_return Fail(ErrorCode::kProtocol, "the peer does not tell its state");
  co_return wire::DecodeSyncState(answer->header);
}

net::Task<Result<SyncPlan>> SyncSource::Plan(wire::SyncState theirs) {
  if (theirs.complete && theirs.source == self_) {
    if (auto delta = PlanDelta(store_, theirs.sequence)) co_return std::move(*delta);
  }
  const auto list = co_await ListPeer();
  if (!list) co_return tl::make_unexpected(list.error());
  totals_.compared = list->size();
  co_return PlanByComparison(store_, *list);
}

net::Task<Result<std::vector<wire::ChunkExpiry>>> SyncSource::ListPeer() {
  std::vector<wire::ChunkExpiry> list;
  std::optional<ChunkId> listed;
  for (bool last = false; !last;) {
    const FrameHeader header = wire::EncodeInventoryRequest(++last_request_, listed);
    if (auto sent = co_await Send(header, {}); !sent) co_return tl::make_unexpected(sent.error());
    const auto answer = co_await Receive();
    if (!answer) co_return tl::make_unexpected(answer.error());
    if (answer->header.type != FrameType::kInventoryReply)
      co_return Fail(ErrorCode::kProtocol, "the peer does not tell its inventory");
    const auto page = wire::ParseInventoryPage(answer->meta);
    if (!page) co_return tl::make_unexpected(page.error());
    for (const wire::InventoryEntry& entry : *page)
      list.push_back({entry.chunk, entry.meta.expires_at_ms});
    last = (answer->header.flags & wire::kFlagLast) != 0;
    listed = answer->header.chunk;
  }
  co_return list;
}

net::Task<Status> SyncSource::SendList(FrameType type, std::string list) {
  FrameHeader header;
  header.type = type;
  header.request = ++last_request_;
  unanswered_.push_back(0);
  if (auto sent = co_await Send(header, std::move(list)); !sent) co_return sent;
  co_return co_await AwaitAnswers(kUnansweredMax, kUnansweredBytesMax);
}

net::Task<Status> SyncSource::SendRemovals(std::vector<ChunkId> removed) {
  for (std::span<const ChunkId> rest = removed; !rest.empty();) {
    const auto batch = rest.first(std::min(rest.size(), wire::kChunkListMax));
    rest = rest.subspan(batch.size());
    const Status sent = co_await SendList(FrameType::kDelete, wire::EncodeChunkList(batch));
    if (!sent) co_return sent;
    totals_.removals += batch.size();
  }
  co_return Status{};
}

net::Task<Status> SyncSource::SendExpiries(std::vector<wire::ChunkExpiry> expiries) {
  for (std::span<const wire::ChunkExpiry> rest = expiries; !rest.empty();) {
    const auto batch = rest.first(std::min(rest.size(), wire::kExpiryListMax));
    rest = rest.subspan(batch.size());
    const Status sent = co_await SendList(FrameType::kSetExpiry, wire::EncodeExpiryList(batch));
    if (!sent) co_return sent;
    totals_.expiries += batch.size();
  }
  co_return Status{};
}

// In order and without a gap, as a writer sends it.
net::Task<Status> SyncSource::SendChunk(const Chunk& chunk) {
  ++last_request_;
  unanswered_.push_back(chunk.meta().chunk_bytes);
  unanswered_bytes_ += chunk.meta().chunk_bytes;
  const std::size_t strips = std::max<std::size_t>(chunk.strips().size(), 1);
  for (std::size_t i = 0; i < strips; ++i) {
    if (auto sent = co_await SendStrip(chunk, i); !sent) co_return sent;
  }
  ++totals_.chunks;
  totals_.chunk_bytes += chunk.meta().chunk_bytes;
  co_return co_await AwaitAnswers(kUnansweredMax, kUnansweredBytesMax);
}

net::Task<Status> SyncSource::SendStrip(const Chunk& chunk, std::size_t index) {
  FrameHeader header;
  header.type = FrameType::kPut;
  header.request = last_request_;
  header.chunk = chunk.id();
  std::string meta;
  if (index == 0) {
    header.flags |= wire::kFlagFirst;
    wire::AppendChunkMeta(chunk.meta(), meta);
  }
  if (index + 1 >= chunk.strips().size()) header.flags |= wire::kFlagLast;
  if (chunk.strips().empty()) co_return co_await Send(header, std::move(meta));
  const Chunk::Strip& strip = chunk.strips()[index];
  header.offset = index * std::uint64_t{chunk.meta().strip_bytes};
  header.length = strip.bytes;
  header.payload_crc = strip.crc;
  header.payload_bytes = strip.bytes;
  co_return co_await Send(header, std::move(meta), chunk.ExtentsOf(strip));
}

net::Task<Status> SyncSource::Send(FrameHeader header, std::string meta,
                                   std::span<const Extent> payload) {
  header.meta_bytes = static_cast<std::uint32_t>(meta.size());
  header.payload_bytes += static_cast<std::uint32_t>(meta.size());
  // At least a turn of the loop between strips, for whatever users have sent.
  const Duration wait =
      rate_.Take(wire::kFrameHeaderBytes + header.payload_bytes, net::EventLoop::Now());
  co_await socket_.loop().Sleep(wait);
  std::array<std::byte, wire::kFrameHeaderBytes> bytes;
  wire::EncodeFrameHeader(header, bytes);
  std::vector<iovec> pieces = {net::ToIovec(bytes)};
  if (!meta.empty()) pieces.push_back(net::ToIovec(meta));
  for (const Extent& extent : payload) pieces.push_back({extent.data, extent.bytes});
  co_return co_await socket_.WriteAll(pieces);
}

net::Task<Status> SyncSource::AwaitAnswers(std::size_t requests, std::size_t bytes) {
  while (unanswered_.size() > requests || unanswered_bytes_ > bytes) {
    const auto answer = co_await Receive();
    if (!answer) co_return tl::make_unexpected(answer.error());
    const FrameType type = answer->header.type;
    if (type == FrameType::kError && !refusal_) {
      const ErrorCode code = answer->header.status.value_or(ErrorCode::kProtocol);
      refusal_ = Error{code, fmt::format("the peer refused a chunk: {}", ErrorCodeName(code))};
    } else if (type != FrameType::kStored && type != FrameType::kDeleted &&
               type != FrameType::kExpirySet && type != FrameType::kError) {
      co_return Fail(ErrorCode::kProtocol,
                     fmt::format("the peer answered with a {} frame", wire::FrameTypeName(type)));
    }
    unanswered_bytes_ -= unanswered_.front();
    unanswered_.pop_front();
  }
  co_return Status{};
}

net::Task<Result<SyncSource::Answer>> SyncSource::Receive() {
  const auto header = co_await reader_.ReadHeader();
  if (!header) co_return tl::make_unexpected(header.error());
  Answer answer{*header, std::string(header->meta_bytes, '\0')};
  if (auto status = co_await reader_.ReadPayload(std::as_writable_bytes(std::span(answer.meta)));
      !status)
    co_return tl::make_unexpected(status.error());
  if (auto status = co_await reader_.Discard(); !status)
    co_return tl::make_unexpected(status.error());
  co_return answer;
}

}  // namespace infinicache::node
