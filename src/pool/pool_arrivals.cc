// The pool's part that takes connections which nodes have dialled.
#include <array>

#include "base/log.h"
#include "net/handshake.h"
#include "pool/pool.h"

namespace infinicache::pool {
namespace {

constexpr auto kHandshakeTimeout = std::chrono::seconds(5);

}  // namespace

std::shared_ptr<ControlLink> Pool::MakeControl(NodeId node, InstanceId instance) {
  ControlLink::Handler& handler = *this;
  return std::make_shared<ControlLink>(control_, node, instance, handler);
}

void Pool::AddControl(NodeId id, const std::shared_ptr<ControlLink>& control) {
  auto& controls = at(id).controls;
  StopControl(id, control->instance());
  if (controls.size() == kKnownMax) StopControl(id, controls.front()->instance());
  controls.push_back(control);
}

void Pool::StopControl(NodeId id, InstanceId instance) {
  auto& controls = at(id).controls;
  for (const auto& control : controls) {
    if (control->instance() == instance) control->Stop();
  }
  std::erase_if(controls, [](const auto& control) { return control->stopped(); });
}

net::Task<> Pool::AcceptNodes() {
  while (!stopping_) {
    auto socket = co_await listener_.Accept(control_);
    if (stopping_) co_return;
    if (!socket || arriving_ >= kArrivingMax) {
      LOG_WARN_EVERY(std::chrono::seconds(1), "cannot take a node's connection: {}",
                     socket ? "too many handshakes at once" : socket.error().ToString());
      co_await control_.Sleep(std::chrono::milliseconds(10));
      continue;
    }
    control_.Spawn(Welcome(std::move(*socket)));
  }
}

net::Task<> Pool::Welcome(net::Socket socket) {
  ++arriving_;
  net::FrameReader reader(socket, wire::kFrameHeaderBytes);
  const std::string peer = socket.peer_address();
  const auto arrived = co_await net::HandshakeAsAcceptingProxy(
      socket, reader, options_.secret, net::EventLoop::Now() + kHandshakeTimeout);
  --arriving_;
  if (stopping_) co_return;
  if (!arrived) {
    if (arrived.error().code != ErrorCode::kUnavailable)
      LOG_WARN("closed the link from {}: {}", peer, arrived.error().ToString());
    co_return;
  }
  const wire::NodeStatus& status = arrived->status;
  if (arrived->link_number == net::kSyncLink && backups_) {
    co_await Relay(std::move(socket));
    co_return;
  }
  if (status.node.value() >= nodes_.size() ||
      arrived->link_number >= net::kFirstDataLink + loops_.size()) {
    LOG_WARN("closed the link from {}: it says that it is link {} of node {}, which we do not have",
             peer, arrived->link_number, status.node.value());
    co_return;
  }
  if (arrived->link_number == net::kControlLink) {
    auto control = MakeControl(status.node, status.instance);
    AddControl(status.node, control);
    ControlLink::Serve(control, std::move(socket));
    co_return;
  }
  LoopLinks& links = *loops_[arrived->link_number - net::kFirstDataLink];
  links.loop().Post([&links, fd = socket.Release(), status] {
    links.at(status.node).Attach(status.instance, net::Socket::Adopt(links.loop(), fd));
  });
}

// Takes the token from the socket, and nothing of what follows.
net::Task<> Pool::Relay(net::Socket socket) {
  net::Timer cutoff(control_);
  cutoff.Start(kHandshakeTimeout, [&socket] { socket.Shutdown(); });
  // By hand, since a frame reader takes the next header with the end of a payload.
  std::array<std::byte, wire::kFrameHeaderBytes> bytes;
  if (!co_await socket.ReadAll(bytes)) co_return;
  const auto header = wire::DecodeFrameHeader(bytes);
  wire::SyncToken token{};
  if (!header || header->type != wire::FrameType::kSync || header->payload_bytes != token.size())
    co_return;
  const Status read = co_await socket.ReadAll(token);
  cutoff.Cancel();
  if (read && !stopping_) backups_->relay().Take(token, std::move(socket));
}

}  // namespace infinicache::pool
