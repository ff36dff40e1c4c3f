#include "pool/link.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "net/handshake.h"

namespace infinicache::pool {
namespace {

using wire::FrameHeader;
using wire::FrameType;
using Kind = FrameSink::Target::Kind;

// Short answers come many to a read, and small payloads with their headers.
constexpr std::size_t kReadAhead = 16 * kKiB;
constexpr auto kDialTimeout = std::chrono::seconds(3);
constexpr auto kDialBackoffMin = std::chrono::milliseconds(10);
constexpr auto kDialBackoffMax = std::chrono::seconds(2);

// Whether a sink takes the frame's payload.
bool CarriesData(const FrameHeader& header) {
  return header.type == FrameType::kData || header.type == FrameType::kInventoryReply;
}

}  // namespace

std::string_view NodeStateName(NodeState state) {
  switch (state) {
    case NodeState::kStarting:
      return "starting";
    case NodeState::kActive:
      return "active";
    case NodeState::kDown:
      return "down";
  }
  return "unknown";
}

Link::Link(net::EventLoop& loop, NodeShared& shared, LinkOptions options)
    : loop_(loop),
      shared_(shared),
      options_(std::move(options)),
      random_(options_.seed),
      backoff_(kDialBackoffMin, kDialBackoffMax),
      borrow_changed_(loop),
      instance_changed_(loop),
      flush_ended_(loop) {}

void Link::SetInstance(Epoch epoch, InstanceId instance, net::HostPort address) {
  epoch_ = epoch;
  instance_ = instance;
  address_ = std::move(address);
  backoff_.Reset();
  Break();
  instance_changed_.Notify();
}

void Link::Stop() {
  stopping_ = true;
  Break();
  instance_changed_.Notify();
}

void Link::Break() {
  if (!socket_) return;
  broken_ = true;
  socket_->Shutdown();
  borrow_changed_.Notify();
}

net::Task<> Link::Run() {
  while (!stopping_) {
    if (address_.host.empty()) {
      co_await instance_changed_.Wait(TimePoint::max());
      continue;
    }
    const Epoch dialled = epoch_;
    Status status = co_await Dial();
    if (status && dialled == epoch_ && !stopping_) {
      connected_ = true;
      suspect_ = false;
      backoff_.Reset();
      status = co_await ReadFrames();
      Disconnect();
      while (flushing_) co_await flush_ended_.Wait(TimePoint::max());
    }
    reader_.reset();
    socket_.reset();
    broken_ = false;
    if (stopping_ || dialled != epoch_) continue;
    if (!status && status.error().code == ErrorCode::kUnauthenticated) {
      LOG_ERROR("link to node {} at {}: {}", node().value(), address_.ToString(),
                status.error().ToString());
    } else if (!status) {
      LOG_DEBUG("link to node {} ended: {}", node().value(), status.error().ToString());
    }
    co_await instance_changed_.Wait(net::EventLoop::Now() + backoff_.Next(random_));
  }
}

net::Task<Status> Link::Dial() {
  const TimePoint deadline = net::EventLoop::Now() + kDialTimeout;
  auto socket = co_await net::Socket::Connect(loop_, address_, options_.socket, deadline);
  if (!socket) co_return tl::make_unexpected(socket.error());
  socket_.emplace(std::move(*socket));
  reader_.emplace(*socket_, kReadAhead);
  const auto status =
      co_await net::HandshakeAsDialer(*socket_, *reader_, options_.secret, deadline);
  if (!status) co_return tl::make_unexpected(status.error());
  if (status->node != node() || status->instance != instance_) {
    co_return Fail(ErrorCode::kUnavailable,
                   fmt::format("{} is not the instance expected there", address_.ToString()));
  }
  shared_.bytes_limit.store(status->bytes_limit, std::memory_order_relaxed);
  shared_.bytes_used.store(status->bytes_used, std::memory_order_relaxed);
  shared_.chunks.store(status->chunks, std::memory_order_relaxed);
  co_return Status{};
}

net::Task<Status> Link::ReadFrames() {
  for (;;) {
    if (auto status = TakeFrames(); !status) co_return status;
    if (borrowed_request_ == 0) {
      if (auto status = co_await reader_->WaitReadable(); !status) co_return status;
    } else if (!std::exchange(borrow_awaited_, false)) {
      co_await borrow_changed_.Wait(TimePoint::max());
    } else {
      const Status status = co_await socket_->WaitReadable();
      const auto sink = sinks_.find(borrowed_request_);
      if (sink != sinks_.end()) sink->second->OnBorrowReadable(*this);
      if (!status) co_return status;
    }
  }
}

Status Link::TakeFrames() {
  for (;;) {
    // What was under way when the connection was ended may be of an instance that is gone.
    if (broken_) return Fail(ErrorCode::kCancelled, "link closed");
    if (borrowed_request_ != 0) return {};
    if (!incoming_) {
      const auto header = reader_->TryHeader();
      if (!header) return tl::make_unexpected(header.error());
      if (!*header) return {};
      BeginFrame(**header);
      continue;
    }
    const auto complete = incoming_->target.kind == Kind::kMemory
                              ? reader_->TryPayload(incoming_->rest)
                              : reader_->TryDiscard();
    if (!complete) return tl::make_unexpected(complete.error());
    if (!*complete) return {};
    EndFrame();
  }
}

void Link::BeginFrame(const FrameHeader& header) {
  suspect_ = false;
  incoming_ = Incoming{header, {}, {}, {}};
  if (!CarriesData(header)) return;
  const auto sink = sinks_.find(header.request);
  if (sink == sinks_.end()) return;
  auto target = sink->second->OnData(*this, header);
  if (target.kind == Kind::kBorrow) {
    if (reader_->buffered() > 0) Break();  // it came before it was asked for
    borrowed_request_ = header.request;
    borrow_awaited_ = false;
  } else {
    ReceiveInto(std::move(target));
  }
}

void Link::ReceiveInto(FrameSink::Target target) {
  incoming_->memory = {target.memory, reader_->payload_left()};
  incoming_->rest = {&incoming_->memory, 1};
  incoming_->target = std::move(target);
}

void Link::EndFrame() {
  const Incoming frame = *std::exchange(incoming_, std::nullopt);
  const FrameHeader& header = frame.header;
  if (header.type == FrameType::kStored || header.type == FrameType::kDeleted) {
    shared_.bytes_used.store(header.offset, std::memory_order_relaxed);
    shared_.chunks.store(header.length, std::memory_order_relaxed);
  }
  if (CarriesData(header) && frame.target.kind == Kind::kDiscard) return;
  // The sink may have gone away while the payload came in.
  if (const auto sink = sinks_.find(header.request); sink != sinks_.end())
    sink->second->OnFrame(*this, header);
}

void Link::AwaitBorrowed() {
  CHECK(borrowed_request_ != 0);
  borrow_awaited_ = true;
  borrow_changed_.Notify();
}

void Link::Release(bool forget) {
  CHECK(borrowed_request_ != 0 && reader_->payload_left() == 0);
  const std::uint64_t request = std::exchange(borrowed_request_, 0);
  incoming_.reset();
  if (forget) Forget(request);
  if (!TakeFrames()) Break();
  if (borrowed_request_ == 0) borrow_changed_.Notify();
}

void Link::Receive(FrameSink::Target target) {
  CHECK(borrowed_request_ != 0 && target.kind != Kind::kBorrow);
  borrowed_request_ = 0;
  ReceiveInto(std::move(target));
  borrow_changed_.Notify();
}

void Link::Disconnect() {
  connected_ = false;
  socket_->Shutdown();
  incoming_.reset();
  borrowed_request_ = 0;
  queue_.clear();
  queued_bytes_ = 0;
  // One at a time: a sink that is told may forget others, which must not be called then.
  while (!sinks_.empty()) {
    const auto lost = sinks_.extract(sinks_.begin());
    lost.mapped()->OnLinkLost(*this, lost.key());
  }
  borrowers_ = 0;
}

void Link::Suspect() {
  if (suspect_ || !connected_) return;
  suspect_ = true;
  FrameHeader ping;
  ping.type = FrameType::kPing;
  Send(ping);
}

std::uint64_t Link::Register(FrameSink* sink) {
  CHECK(connected_);
  sinks_.emplace(++last_request_, sink);
  if (sink->Borrows() && ++borrowers_ == 1) reader_->set_read_ahead(wire::kFrameHeaderBytes);
  if (borrowed_request_ != 0) {
    if (const auto lender = sinks_.find(borrowed_request_); lender != sinks_.end()) {
      lender->second->OnBorrowContended(*this);
    }
  }
  return last_request_;
}

void Link::Forget(std::uint64_t request) {
  const auto found = sinks_.find(request);
  if (found == sinks_.end()) return;
  if (found->second->Borrows() && --borrowers_ == 0 && reader_) reader_->set_read_ahead(kReadAhead);
  sinks_.erase(found);
  if (borrowed_request_ == request) Receive({});
}

void Link::Send(FrameHeader header, std::string meta, std::span<const std::byte> payload,
                std::shared_ptr<const void> keep_alive, bool more) {
  if (!connected()) return;
  header.meta_bytes = static_cast<std::uint32_t>(meta.size());
  header.payload_bytes = static_cast<std::uint32_t>(meta.size() + payload.size());
  Outgoing& frame = queue_.emplace_back();
  frame.request = header.request;
  wire::EncodeFrameHeader(header, frame.header);
  frame.meta = std::move(meta);
  frame.payload = payload;
  frame.keep_alive = std::move(keep_alive);
  queued_bytes_ += frame.size();
  if (!more) Flush();
}

void Link::Flush() {
  if (flushing_ || !connected()) return;
  if (!FlushSome()) {
    Break();
    return;
  }
  if (!queue_.empty()) {
    flushing_ = true;
    loop_.Spawn(FlushAll());
  }
}

Status Link::FlushSome() {
  while (!queue_.empty()) {
    std::array<iovec, 12> pieces;
    std::size_t count = 0;
    std::size_t skip = queue_.front().sent;
    for (const Outgoing& frame : queue_) {
      if (count + 3 > pieces.size()) break;
      pieces[count++] = net::ToIovec(frame.header);
      if (!frame.meta.empty()) pieces[count++] = net::ToIovec(frame.meta);
      if (!frame.payload.empty()) pieces[count++] = net::ToIovec(frame.payload);
    }
    const std::span<iovec> rest = net::Advance(std::span(pieces).first(count), skip);
    const auto written = socket_->TryWrite(rest);
    if (!written) return tl::make_unexpected(written.error());
    if (*written == 0) return {};
    std::size_t left = *written;
    queued_bytes_ -= left;
    while (left > 0) {
      Outgoing& frame = queue_.front();
      const std::size_t taken = std::min(left, frame.size() - frame.sent);
      frame.sent += taken;
      left -= taken;
      if (frame.sent == frame.size()) queue_.pop_front();
    }
  }
  return {};
}

net::Task<> Link::FlushAll() {
  while (connected_ && !queue_.empty()) {
    const Status writable = co_await socket_->WaitWritable();
    if (!connected_) break;
    if (!writable || !FlushSome()) {
      Break();
      break;
    }
  }
  flushing_ = false;
  flush_ended_.Notify();
}

void Link::Unqueue(std::uint64_t request) {
  for (auto frame = queue_.begin(); frame != queue_.end();) {
    if (frame->request == request && frame->sent == 0) {
      queued_bytes_ -= frame->size();
      frame = queue_.erase(frame);
    } else {
      ++frame;
    }
  }
}

}  // namespace infinicache::pool
