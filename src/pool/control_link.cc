#include "pool/control_link.h"

#include <array>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "net/handshake.h"
#include "policy/backoff.h"
#include "pool/dialling.h"

namespace infinicache::pool {

ControlLink::ControlLink(net::EventLoop& loop, NodeId node, InstanceId instance, Handler& handler)
    : loop_(loop),
      node_(node),
      instance_(instance),
      handler_(handler),
      random_(instance.value()),
      wake_(loop) {}

void ControlLink::Dial(const std::shared_ptr<ControlLink>& link, net::HostPort address,
                       std::string secret) {
  link->loop_.Spawn(RunDialling(link, std::move(address), std::move(secret)));
}

void ControlLink::Serve(const std::shared_ptr<ControlLink>& link, net::Socket socket) {
  link->socket_.emplace(std::move(socket));
  link->reader_.emplace(*link->socket_, wire::kFrameHeaderBytes);
  link->loop_.Spawn(RunServing(link));
}

void ControlLink::Stop() {
  stopped_ = true;
  if (socket_) socket_->Shutdown();
  wake_.Notify();
}

net::Task<> ControlLink::RunDialling(std::shared_ptr<ControlLink> link, net::HostPort address,
                                     std::string secret) {
  policy::Backoff backoff(kDialBackoffMin, kDialBackoffMax);
  while (!link->stopped_) {
    const Status linked = co_await link->Connect(address, secret);
    if (linked && !link->stopped_) {
      backoff.Reset();
      co_await link->ReadAndDisconnect();
    } else if (!linked && linked.error().code == ErrorCode::kUnauthenticated) {
      LOG_ERROR("link to node {} at {}: {}", link->node_.value(), address.ToString(),
                linked.error().ToString());
    }
    link->reader_.reset();
    link->socket_.reset();
    if (link->stopped_) co_return;
    co_await link->wake_.Wait(net::EventLoop::Now() + backoff.Next(link->random_));
  }
}

net::Task<> ControlLink::RunServing(std::shared_ptr<ControlLink> link) {
  if (!link->stopped_) co_await link->ReadAndDisconnect();
  link->reader_.reset();
  link->socket_.reset();
}

net::Task<Status> ControlLink::Connect(const net::HostPort& address, const std::string& secret) {
  const TimePoint deadline = net::EventLoop::Now() + kDialTimeout;
  auto socket = co_await net::Socket::Connect(loop_, address, {}, deadline);
  if (!socket) co_return tl::make_unexpected(socket.error());
  socket_.emplace(std::move(*socket));
  reader_.emplace(*socket_, wire::kFrameHeaderBytes);
  const auto status =
      co_await net::HandshakeAsDialer(*socket_, *reader_, secret, deadline, net::kControlLink);
  if (!status) co_return tl::make_unexpected(status.error());
  co_return CheckDialled(*status, node_, instance_, address);
}

net::Task<> ControlLink::ReadAndDisconnect() {
  connected_ = true;
  const Status ended = co_await ReadFrames();
  connected_ = false;
  socket_->Shutdown();
  if (stopped_) co_return;
  LOG_DEBUG("control link to node {} ended: {}", node_.value(), ended.error().ToString());
  handler_.OnControlLost(node_, instance_);
}

net::Task<Status> ControlLink::ReadFrames() {
  for (;;) {
    const auto header = co_await reader_->ReadHeader();
    if (!header) co_return tl::make_unexpected(header.error());
    std::string meta(header->meta_bytes, '\0');
    if (auto status = co_await reader_->ReadPayload(std::as_writable_bytes(std::span(meta)));
        !status)
      co_return status;
    if (auto status = co_await reader_->Discard(); !status) co_return status;
    if (stopped_) co_return Fail(ErrorCode::kCancelled, "link closed");
    if (header->type == wire::FrameType::kPong) {
      const wire::Pong pong = wire::DecodePong(*header);
      // Whoever is at the other end proved who it is when the link began.
      if (pong.instance == instance_) handler_.OnPong(node_, pong);
    } else if (header->type == wire::FrameType::kBye) {
      const auto totals = wire::ParseByeTotals(meta);
      if (!totals) co_return tl::make_unexpected(totals.error());
      handler_.OnBye(node_, instance_, SessionId(header->request), *totals,
                     {header->offset, header->length});
    } else if (header->type == wire::FrameType::kSyncReport) {
      const auto report = wire::DecodeSyncReport(*header, meta);
      if (!report) co_return tl::make_unexpected(report.error());
      handler_.OnSyncReport(node_, instance_, *report);
    }
  }
}

void ControlLink::Ping(SessionId session) {
  (void)Send(wire::EncodePing(session), {});
}

bool ControlLink::Send(wire::FrameHeader header, std::string_view meta) {
  if (!connected_ || stopped_) return false;
  header.meta_bytes = header.payload_bytes = static_cast<std::uint32_t>(meta.size());
  std::array<std::byte, wire::kFrameHeaderBytes> bytes;
  wire::EncodeFrameHeader(header, bytes);
  const std::array<iovec, 2> pieces = {net::ToIovec(bytes), net::ToIovec(meta)};
  const auto written = socket_->TryWrite(std::span(pieces).first(meta.empty() ? 1 : 2));
  // So little is sent here that the socket has room, unless its peer does not read.
  if (written && *written == bytes.size() + meta.size()) return true;
  socket_->Shutdown();
  return false;
}

}  // namespace infinicache::pool
