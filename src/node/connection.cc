#include "node/connection.h"

#include <fmt/format.h>

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/log.h"
#include "net/handshake.h"
#include "wire/inventory.h"

namespace infinicache::node {
namespace {

using wire::FrameHeader;
using wire::FrameType;

// Requests without payload come many to a read, and a small strip with its header; of a large one
// these first bytes are copied to their place.
constexpr std::size_t kReadAhead = 16 * kKiB;
constexpr auto kHandshakeTimeout = std::chrono::seconds(10);

}  // namespace

Connection::Connection(NodeContext& context, net::Socket socket)
    : context_(context),
      socket_(std::move(socket)),
      reader_(socket_, kReadAhead),
      blocked_(socket_.loop()),
      writer_ended_(socket_.loop()),
      session_began_(socket_.loop()) {}

Connection::~Connection() = default;

net::Task<Error> Connection::Run() {
  const auto number =
      co_await net::HandshakeAsAcceptor(socket_, reader_, context_.secret, context_.Status(),
                                        net::EventLoop::Now() + kHandshakeTimeout);
  if (!number) co_return number.error();
  co_return co_await Serve(*number);
}

net::Task<Error> Connection::RunDialled(std::uint16_t number, std::function<void()> linked) {
  const Status authenticated =
      co_await net::HandshakeAsDialingNode(socket_, reader_, context_.secret, context_.Status(),
                                           number, net::EventLoop::Now() + kHandshakeTimeout);
  if (!authenticated) co_return authenticated.error();
  linked();
  co_return co_await Serve(number);
}

net::Task<Error> Connection::RunSynced(const wire::SyncToken& token) {
  const TimePoint deadline = net::EventLoop::Now() + kHandshakeTimeout;
  const Status authenticated = co_await net::HandshakeAsDialingNode(
      socket_, reader_, context_.secret, context_.Status(), net::kSyncLink, deadline);
  if (!authenticated) co_return authenticated.error();
  FrameHeader header;
  header.type = FrameType::kSync;
  const Status sent = co_await net::SendMetaFrame(
      socket_, header, {reinterpret_cast<const char*>(token.data()), token.size()});
  if (!sent) co_return sent.error();
  co_return co_await Serve(net::kSyncLink);
}

net::Task<Error> Connection::Serve(std::uint16_t number) {
  is_control_ = number == net::kControlLink;
  is_sync_ = number == net::kSyncLink;
  socket_.loop().Spawn(Write());
  if (is_control_) context_.sessions.SetControl(this);
  if (is_sync_) BeginSync();
  const Status served = co_await ServeFrames();
  if (is_control_) context_.sessions.ControlEnded(this);
  DrainLent();
  closing_ = true;
  blocked_.Notify();
  socket_.Shutdown();
  while (!co_await writer_ended_.Wait(TimePoint::max())) {
  }
  incoming_.clear();
  streams_.clear();
  while (requests_ > 0) FinishRequest();
  if (is_sync_) EndSync();
  co_return served.error();
}

void Connection::Close() {
  closing_ = true;
  blocked_.Notify();
  session_began_.Notify();
  socket_.Shutdown();
}

bool Connection::IsDead() {
  if (closing_) return true;
  char byte = 0;
  const ssize_t bytes = recv(socket_.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return bytes == 0 || (bytes < 0 && errno != EAGAIN && errno != EINTR);
}

net::Task<Status> Connection::AwaitSession() {
  // The session may be waiting for its last answers to go.
  if (unsent_.empty()) {
    if (auto status = SendSome(); !status) co_return status;
  }
  context_.sessions.Await(&session_began_);
  while (!context_.sessions.Accepts() && !closing_) co_await session_began_.Wait(TimePoint::max());
  context_.sessions.StopAwaiting(&session_began_);
  if (closing_) co_return Fail(ErrorCode::kCancelled, "link closed");
  co_return Status{};
}

// At once: behind a BYE the process may be frozen.
void Connection::SendControl(const FrameHeader& header, std::string meta) {
  if (!unsent_.empty() || !replies_.empty()) return Enqueue(header, std::move(meta));
  FrameHeader complete = header;
  complete.meta_bytes = complete.payload_bytes = static_cast<std::uint32_t>(meta.size());
  std::array<std::byte, wire::kFrameHeaderBytes> bytes;
  wire::EncodeFrameHeader(complete, bytes);
  const std::array<iovec, 2> pieces = {net::ToIovec(bytes), net::ToIovec(meta)};
  const auto written = socket_.TryWrite(std::span(pieces).first(meta.empty() ? 1 : 2));
  // A control link carries so little that its socket always has room.
  if (!written || *written != bytes.size() + meta.size()) Close();
}

void Connection::HandlePing(const FrameHeader& header) {
  if (is_control_) {
    context_.sessions.OnPing(SessionId(header.request));
  } else {
    ReplyOk(FrameType::kPong, header);
  }
}

// An instance that becomes its node's once more may lack what another one took meanwhile.
void Connection::HandleSince(const FrameHeader& header) {
  context_.since = std::max(context_.since, header.chunk.version);
}

void Connection::BeginRequest() {
  ++requests_;
  if (!is_sync_) context_.sessions.Begin();
}

void Connection::FinishRequest() {
  --requests_;
  if (!is_sync_) context_.sessions.Finish();
}

// One at a time: an older one is of a round that is over.
void Connection::BeginSync() {
  sync_session_ = context_.sessions.session();
  context_.sessions.Begin();
  if (context_.sync_link != nullptr) context_.sync_link->Close();
  context_.sync_link = this;
  context_.sync_open = false;
  if (context_.on_sync_linked) context_.on_sync_linked();
}

void Connection::EndSync() {
  if (context_.sync_link == this) context_.sync_link = nullptr;
  context_.sessions.FinishAndEnd(sync_session_);
}

void Connection::NoteChange() {
  if (is_sync_) return;
  context_.copy_of = {};
  context_.sync_open = false;
}

void Connection::NoteMissing(Version version) {
  if (context_.since != Version()) context_.since = std::max(context_.since, version);
}

void Connection::EraseIncoming(const ChunkId& chunk) {
  if (incoming_.erase(chunk) > 0) FinishRequest();
}

namespace {

// Whether the frame begins a request, for which a session must run.
bool BeginsRequest(const FrameHeader& header) {
  switch (header.type) {
    case FrameType::kPut:
      return (header.flags & wire::kFlagFirst) != 0;
    case FrameType::kGet:
    case FrameType::kDelete:
    case FrameType::kSetExpiry:
    case FrameType::kInventory:
    case FrameType::kLocate:
      return true;
    default:
      return false;
  }
}

}  // namespace

net::Task<Status> Connection::ServeFrames() {
  for (;;) {
    const auto read = co_await reader_.ReadHeader();
    if (!read) co_return tl::make_unexpected(read.error());
    const FrameHeader& header = *read;
    DrainLent();
    Status status;
    if (BeginsRequest(header)) {
      if (!is_sync_ && !context_.sessions.Accepts()) status = co_await AwaitSession();
      if (!status) co_return status;
      BeginRequest();
    }
    switch (header.type) {
      case FrameType::kPut:
        status = co_await HandlePut(header);
        break;
      case FrameType::kGet:
        status = HandleGet(header);
        break;
      case FrameType::kCancel:
        HandleCancel(header);
        break;
      case FrameType::kDelete:
        status = co_await HandleDelete(header);
        break;
      case FrameType::kAbort:
        EraseIncoming(header.chunk);
        break;
      case FrameType::kPing:
        HandlePing(header);
        break;
      case FrameType::kSince:
        HandleSince(header);
        break;
      case FrameType::kStats:
        ReplyOk(FrameType::kStatsReply, header, wire::EncodeNodeStatus(context_.Status()));
        break;
      case FrameType::kSetExpiry:
        status = co_await HandleSetExpiry(header);
        break;
      case FrameType::kInventory:
        status = HandleInventory(header);
        break;
      case FrameType::kLocate:
        HandleLocate(header);
        break;
      case FrameType::kLend:
        status = co_await HandleLend(header);
        break;
      case FrameType::kSync:
        status = co_await HandleSync(header);
        break;
      case FrameType::kSyncOpen:
      case FrameType::kSyncClose:
        if (is_control_) {
          if (context_.on_sync_over) context_.on_sync_over(SessionId(header.request));
        } else {
          HandleSyncState(header);
        }
        break;
      case FrameType::kCorruptForTest:
        if (context_.test_hooks && context_.store.FlipBitForTest(header.chunk, header.offset)) {
          ReplyOk(FrameType::kPong, header);
        } else {
          ReplyError(header, {ErrorCode::kNotFound, "no such chunk, or test hooks are off"});
        }
        break;
      default:
        co_return Fail(ErrorCode::kProtocol, fmt::format("a node does not take {} frames",
                                                         wire::FrameTypeName(header.type)));
    }
    if (!status) co_return status;
    if (reader_.payload_left() > 0) {
      co_return Fail(ErrorCode::kProtocol, fmt::format("unexpected payload in a {} frame",
                                                       wire::FrameTypeName(header.type)));
    }
    // Answers to requests that came together go out together.
    if (unsent_.empty() && !reader_.HasFrame()) status = SendSome();
    if (!status) co_return status;
    if (replies_.size() > kRepliesMax)
      co_return Fail(ErrorCode::kProtocol, "the peer does not read its answers");
  }
}

net::Task<Result<std::string>> Connection::ReadMeta(const FrameHeader& header) {
  std::string meta(header.meta_bytes, '\0');
  iovec piece = net::ToIovec(meta);
  std::span<iovec> rest(&piece, 1);
  for (;;) {
    const auto whole = reader_.TryPayload(rest);
    if (!whole) co_return tl::make_unexpected(whole.error());
    if (*whole) co_return meta;
    if (auto status = co_await reader_.WaitReadable(); !status)
      co_return tl::make_unexpected(status.error());
  }
}

Result<Connection::Incoming> Connection::BeginChunk(const FrameHeader& header,
                                                    std::string_view bytes) {
  auto meta = wire::ParseChunkMeta(bytes);
  if (!meta) return tl::make_unexpected(meta.error());
  if (incoming_.size() >= kIncompleteChunksMax)
    return Fail(ErrorCode::kProtocol, "too many chunks at once on one link");
  auto chunk = context_.store.Begin(header.chunk, std::move(*meta));
  if (!chunk) {
    ReplyError(header, chunk.error());
    return Incoming{};
  }
  return std::move(*chunk);
}

// A kPut carries one strip; the first also carries the chunk's metadata. The answer comes once per
// chunk: kStored behind the last strip, or kError at the first failure, after which the chunk is
// not incoming any more and its other strips are skipped.
net::Task<Status> Connection::HandlePut(const FrameHeader& header) {
  const bool last = (header.flags & wire::kFlagLast) != 0;
  Incoming chunk;
  if ((header.flags & wire::kFlagFirst) != 0) {
    EraseIncoming(header.chunk);
    const auto meta = co_await ReadMeta(header);
    if (!meta) co_return tl::make_unexpected(meta.error());
    auto begun = BeginChunk(header, *meta);
    if (!begun) co_return tl::make_unexpected(begun.error());
    chunk = std::move(*begun);
    if (chunk == nullptr) ++answered_;
    if (chunk != nullptr && !last) incoming_[header.chunk] = chunk;
  } else {
    if (header.meta_bytes > 0)
      co_return Fail(ErrorCode::kProtocol, "metadata behind the first strip of a chunk");
    if (const auto found = incoming_.find(header.chunk); found != incoming_.end())
      chunk = found->second;
  }
  if (chunk == nullptr) co_return co_await reader_.Discard();

  const std::size_t strip_bytes = reader_.payload_left();
  Status stored;
  if (strip_bytes > 0) {
    const auto extents = context_.store.NextStrip(*chunk, header.offset, strip_bytes);
    if (!extents) co_return Fail(ErrorCode::kProtocol, extents.error().message);
    put_pieces_.clear();
    for (const Extent& extent : *extents) put_pieces_.push_back({extent.data, extent.bytes});
    std::span<iovec> rest = put_pieces_;
    const auto whole = reader_.TryPayload(rest);  // most often it is: that spares a coroutine
    if (!whole) co_return tl::make_unexpected(whole.error());
    if (!*whole) {
      if (auto status = co_await reader_.ReadPayload(rest); !status) co_return status;
    }
    stored = context_.store.StripReceived(*chunk, header.payload_crc);
  }
  if (stored && !last) co_return Status{};
  if (stored && !chunk->IsComplete()) {
    stored = Fail(ErrorCode::kInvalidArgument, "the last strip came before the chunk was complete");
  }
  incoming_.erase(header.chunk);
  ++answered_;
  if (stored) {
    NoteChange();
    context_.store.Commit(chunk);
    ReplyOk(FrameType::kStored, header);
  } else {
    ReplyError(header, stored.error());
  }
  co_return Status{};
}

Status Connection::HandleGet(const FrameHeader& header) {
  auto chunk = context_.store.Use(header.chunk);
  if (chunk == nullptr) {
    ++answered_;
    ReplyError(header, {ErrorCode::kNotFound, "no such chunk"});
    return {};
  }
  const std::size_t first = chunk->StripAt(header.offset);
  std::size_t end = first;
  std::uint64_t offset = header.offset;
  while (end < chunk->strips().size() && offset < header.offset + header.length) {
    offset += chunk->strips()[end].bytes;
    ++end;
  }
  if (first == end) {
    ++answered_;
    ReplyError(header, {ErrorCode::kInvalidArgument, "no strip at this offset"});
    return {};
  }
  if (streams_.size() >= kStreamsMax)
    return Fail(ErrorCode::kProtocol, "too many requests at once on one link");
  streams_.push_back({header.request, std::move(chunk), first, end});
  return {};
}

void Connection::HandleCancel(const FrameHeader& header) {
  const std::size_t cancelled = std::erase_if(
      streams_, [&](const Stream& stream) { return stream.request == header.request; });
  for (std::size_t i = 0; i < cancelled; ++i) FinishRequest();
}

net::Task<Status> Connection::HandleDelete(const FrameHeader& header) {
  const auto bytes = co_await ReadMeta(header);
  if (!bytes) co_return tl::make_unexpected(bytes.error());
  const auto chunks = wire::ParseChunkList(*bytes);
  if (!chunks) co_return tl::make_unexpected(chunks.error());
  NoteChange();
  for (const ChunkId& chunk : *chunks) context_.store.Remove(chunk);
  ++answered_;
  ReplyOk(FrameType::kDeleted, header);
  co_return Status{};
}

net::Task<Status> Connection::HandleSetExpiry(const FrameHeader& header) {
  const auto bytes = co_await ReadMeta(header);
  if (!bytes) co_return tl::make_unexpected(bytes.error());
  const auto list = wire::ParseExpiryList(*bytes);
  if (!list) co_return tl::make_unexpected(list.error());
  NoteChange();
  for (const wire::ChunkExpiry& entry : *list)
    context_.store.SetExpiry(entry.chunk, entry.expires_at_ms);
  ++answered_;
  ReplyOk(FrameType::kExpirySet, header);
  co_return Status{};
}

Status Connection::HandleInventory(const FrameHeader& header) {
  const auto unsent = std::count_if(replies_.begin(), replies_.end(), [](const Reply& reply) {
    return reply.meta.size() > wire::kFrameHeaderBytes;
  });
  if (static_cast<std::size_t>(unsent) >= kInventoryRepliesMax)
    return Fail(ErrorCode::kProtocol, "the peer does not read its inventory");
  const bool from_start = (header.flags & wire::kFlagFirst) != 0;
  Inventory::Page page = inventory_.Next(
      context_.store, from_start ? std::nullopt : std::optional<ChunkId>(header.chunk));
  FrameHeader reply;
  reply.type = FrameType::kInventoryReply;
  reply.request = header.request;
  reply.chunk = page.last;
  reply.offset = page.newest.value();
  reply.length = context_.since.value();
  if (page.end) reply.flags = wire::kFlagLast;
  ++answered_;
  Enqueue(reply, std::move(page.entries));
  return {};
}

net::Task<Status> Connection::HandleSync(const FrameHeader& header) {
  const auto meta = co_await ReadMeta(header);
  if (!meta) co_return tl::make_unexpected(meta.error());
  const auto command = wire::DecodeSync(header, *meta);
  if (!command) co_return tl::make_unexpected(command.error());
  if (!is_control_) co_return Fail(ErrorCode::kProtocol, "a backup begins on the control link");
  // One that comes late, out of a socket of a frozen instance, is over.
  if (context_.on_sync && command->session == context_.sessions.session())
    context_.on_sync(*command);
  co_return Status{};
}

void Connection::HandleSyncState(const FrameHeader& header) {
  wire::SyncState& copy_of = context_.copy_of;
  const bool opens = header.type == FrameType::kSyncOpen;
  const bool was_open = std::exchange(context_.sync_open, opens);
  if (!opens && was_open) {
    copy_of = wire::DecodeSyncState(header);
    copy_of.complete = true;
  }
  Enqueue(wire::EncodeSyncState(FrameType::kSyncState, header.request, copy_of), {});
  if (opens) copy_of.complete = false;
  context_.since = {};
}

// Short answers tell the node's fill, so that the proxy places by fresh figures, and in which
// order.
void Connection::ReplyOk(FrameType type, const FrameHeader& to, std::string meta) {
  FrameHeader header;
  header.type = type;
  header.request = to.request;
  header.chunk = to.chunk;
  header.offset = context_.store.bytes_used();
  header.length = context_.store.chunks();
  header.payload_crc = ++context_.answers;
  Enqueue(header, std::move(meta));
}

void Connection::ReplyError(const FrameHeader& to, const Error& error) {
  LOG_DEBUG("request refused: {}", error.ToString());
  FrameHeader header;
  header.type = FrameType::kError;
  header.request = to.request;
  header.chunk = to.chunk;
  header.status = error.code;
  header.offset = to.offset;
  Enqueue(header, {});
}

void Connection::Enqueue(const FrameHeader& header, std::string meta) {
  FrameHeader complete = header;
  complete.meta_bytes = complete.payload_bytes = static_cast<std::uint32_t>(meta.size());
  Reply& reply = replies_.emplace_back();
  wire::EncodeFrameHeader(complete, reply.header);
  reply.meta = std::move(meta);
}

net::Task<> Connection::Write() {
  Status status;
  while (status && !closing_) {
    if (unsent_.empty()) {
      co_await blocked_.Wait(TimePoint::max());
      continue;
    }
    status = co_await socket_.WaitWritable();
    if (status && !closing_) status = SendSome();
  }
  closing_ = true;
  socket_.Shutdown();
  writer_ended_.Notify();
}

Status Connection::SendSome() {
  while (!unsent_.empty() || TakeReplies() || TakeStrip()) {
    const auto written = socket_.TryWrite(unsent_);
    if (!written) return tl::make_unexpected(written.error());
    if (*written == 0) {
      blocked_.Notify();
      return {};
    }
    unsent_ = net::Advance(unsent_, *written);
  }
  sending_chunk_.reset();
  for (; answered_ > 0; --answered_) FinishRequest();
  if (std::exchange(reader_goes_on_, false)) context_.sessions.ExpectMore();
  return {};
}

bool Connection::TakeReplies() {
  if (replies_.empty()) return false;
  sending_replies_.swap(replies_);
  replies_.clear();
  pieces_.clear();
  for (const Reply& reply : sending_replies_) {
    pieces_.push_back(net::ToIovec(reply.header));
    if (!reply.meta.empty()) pieces_.push_back(net::ToIovec(reply.meta));
  }
  unsent_ = pieces_;
  return true;
}

// The next strip of the stream whose turn it is; the next time it is that of another. A strip is
// sent whole, so a cancel in between takes effect at the stream's next one.
bool Connection::TakeStrip() {
  if (streams_.empty()) return false;
  Stream stream = std::move(streams_.front());
  streams_.pop_front();
  const Chunk& chunk = *stream.chunk;
  const Chunk::Strip& strip = chunk.strips()[stream.next_strip];
  FrameHeader header;
  header.request = stream.request;
  header.chunk = chunk.id();
  header.offset = stream.next_strip * std::uint64_t{chunk.meta().strip_bytes};
  if (!chunk.Verify(strip)) {
    // The chunk is of no use any more; the proxy sees an erasure and has it repaired.
    LOG_ERROR("stored chunk is corrupt object={:016x} version={} index={}",
              chunk.id().object.value(), chunk.id().version.value(), chunk.id().index);
    NoteChange();
    NoteMissing(chunk.id().version);
    context_.store.RemoveCorrupt(chunk.id());
    ++answered_;
    ReplyError(header, {ErrorCode::kCorrupt, "stored strip fails its checksum"});
    return TakeReplies();
  }
  header.type = FrameType::kData;
  header.length = header.payload_bytes = strip.bytes;
  header.payload_crc = strip.crc;
  const bool last = ++stream.next_strip == stream.end_strip;
  if (last) {
    header.flags = wire::kFlagLast;
    ++answered_;
    reader_goes_on_ |= stream.end_strip < chunk.strips().size();
  }
  wire::EncodeFrameHeader(header, strip_header_);
  pieces_.clear();
  pieces_.push_back(net::ToIovec(strip_header_));
  for (const Extent& extent : chunk.ExtentsOf(strip))
    pieces_.push_back({extent.data, extent.bytes});
  unsent_ = pieces_;
  sending_chunk_ = stream.chunk;
  if (!last) streams_.push_back(std::move(stream));
  return true;
}

}  // namespace infinicache::node
