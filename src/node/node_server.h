// The node's runtime where instances accept connections: listens, serves links, ends in order.
//
// Thread-safety: none; one event loop.
#pragma once

#include <list>
#include <memory>
#include <string>

#include "base/result.h"
#include "net/event_loop.h"
#include "net/socket.h"
#include "node/connection.h"

namespace infinicache::node {

struct NodeOptions {
  net::HostPort listen{"127.0.0.1", 0};
  std::uint64_t memory_bytes = 512 * kMiB;
  NodeId node;
  std::string secret;
  net::SocketOptions socket;
  bool test_hooks = false;
};

class NodeServer {
 public:
  static constexpr std::size_t kLinksMax = 1024;

  NodeServer(net::EventLoop& loop, NodeOptions options);

  // Starts to listen. Errors: as net::Listener::Listen.
  Status Start();
  // Closes the listener and every link, for good. Its coroutines end soon after.
  void Stop();

  net::HostPort address() const { return listener_.address(); }
  InstanceId instance() const { return context_.instance; }

 private:
  net::Task<> AcceptLinks();
  net::Task<> Serve(net::Socket socket);

  net::EventLoop& loop_;
  NodeOptions options_;
  ChunkStore store_;
  NodeContext context_;
  net::Listener listener_;
  std::list<Connection*> connections_;
  bool stopping_ = false;
};

}  // namespace infinicache::node
