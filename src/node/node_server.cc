#include "node/node_server.h"

#include <span>
#include <utility>

#include "base/log.h"
#include "net/crypto.h"

namespace infinicache::node {
namespace {

InstanceId RandomInstance() {
  std::uint64_t id = 0;
  while (id == 0) net::RandomBytes(std::as_writable_bytes(std::span(&id, 1)));
  return InstanceId(id);
}

}  // namespace

NodeServer::NodeServer(net::EventLoop& loop, NodeOptions options)
    : loop_(loop),
      options_(std::move(options)),
      store_(options_.memory_bytes),
      context_{store_, options_.node, RandomInstance(), options_.secret, options_.test_hooks},
      listener_(loop) {}

Status NodeServer::Start() {
  if (auto status = listener_.Listen(options_.listen); !status) return status;
  loop_.Spawn(AcceptLinks());
  return {};
}

void NodeServer::Stop() {
  stopping_ = true;
  listener_.Close();
  for (Connection* connection : connections_) connection->Close();
}

net::Task<> NodeServer::AcceptLinks() {
  while (!stopping_) {
    auto socket = co_await listener_.Accept(loop_);
    if (stopping_) co_return;
    if (!socket) {
      LOG_WARN_EVERY(std::chrono::seconds(1), "{}", socket.error().ToString());
      co_await loop_.Sleep(std::chrono::milliseconds(100));
      continue;
    }
    if (connections_.size() >= kLinksMax) {
      LOG_WARN_EVERY(std::chrono::seconds(1), "refused a link: {} are open", connections_.size());
      continue;
    }
    socket->Configure(options_.socket);
    loop_.Spawn(Serve(std::move(*socket)));
  }
}

net::Task<> NodeServer::Serve(net::Socket socket) {
  if (stopping_) co_return;
  const std::string peer = socket.peer_address();
  Connection connection(context_, std::move(socket));
  const auto place = connections_.insert(connections_.end(), &connection);
  const Error reason = co_await connection.Run();
  connections_.erase(place);
  if (reason.code == ErrorCode::kProtocol || reason.code == ErrorCode::kUnauthenticated) {
    LOG_WARN("closed the link from {}: {}", peer, reason.ToString());
  }
}

}  // namespace infinicache::node
