// The node's runtime: holds the chunks, serves links, runs sessions, ends in order.
//
// Links come in through a listener, or the node dials the proxy that an invocation names and dials
// again what it finds dead, as platforms differ in who may dial. A session is announced (PONG) when
// the links stand, or after kLinksPatience without those that do not.
//
// Thread-safety: none; one event loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/random.h"
#include "base/result.h"
#include "net/event_loop.h"
#include "net/socket.h"
#include "node/connection.h"
#include "node/session_host.h"
#include "node/sync_source.h"

namespace infinicache::node {

struct NodeOptions {
  net::HostPort listen{"127.0.0.1", 0};  // no host: does not listen
  std::uint64_t memory_bytes = 512 * kMiB;
  NodeId node;
  std::string secret;
  net::SocketOptions socket;
  bool test_hooks = false;
  bool share_memory = false;  // with processes of the same user, which may read the chunks
  SessionHost::Options session = {};
  // A session has ended, and its BYE is sent: the invocation returns.
  std::function<void(SessionId, wire::ByeTotals)> on_session_end = {};
};

struct Invocation {
  SessionId session;
  policy::SessionLifetime::Opening opening = policy::SessionLifetime::Opening::kRequest;
  net::HostPort proxy = {};  // where to dial; no host: the proxy dials
  std::uint16_t data_links = 0;
};

class NodeServer {
 public:
  static constexpr std::size_t kLinksMax = 1024;
  static constexpr Duration kLinksPatience = std::chrono::seconds(1);
  // That the other side of a backup may take to be there.
  static constexpr Duration kSyncPatience = std::chrono::seconds(5);

  NodeServer(net::EventLoop& loop, NodeOptions options);

  // Starts to listen. Errors: as net::Listener::Listen.
  Status Start();
  // The platform invokes: opens a session.
  void Invoke(const Invocation& invocation);
  // Ends the session, then closes the listener and every link, for good. Its coroutines end soon
  // after.
  void Stop();

  net::HostPort address() const { return listener_.address(); }
  // 0: it does not listen.
  std::uint16_t port() const {
    return options_.listen.host.empty() ? std::uint16_t{0} : listener_.address().port;
  }
  InstanceId instance() const { return context_.instance; }

 private:
  // A link that this node dials, by number.
  struct Dialled {
    Connection* connection = nullptr;
    bool linked = false;       // the handshake is done
    bool kept = false;         // KeepLinked runs
    net::HostPort proxy = {};  // as the last invocation named it
  };

  // A backup, of this instance to its peer or the other way round. Both take the session's time.
  void OnSync(const wire::SyncCommand& command);
  net::Task<> BackUp(wire::SyncCommand command);
  net::Task<Status> BackUpTo(const wire::SyncCommand& command, wire::SyncTotals& totals);
  net::Task<Result<net::Socket>> DialPeer(const wire::SyncCommand& command, TimePoint deadline);
  net::Task<> BeBackup(wire::SyncCommand command);
  net::Task<Status> ServeRelay(const wire::SyncCommand& command);
  // Ends what a backup does here.
  void AbortSync();

  net::Task<> AcceptLinks();
  net::Task<> Serve(net::Socket socket);
  net::Task<> LinkAndAnnounce();
  bool MissesDataLink() const;
  void EnsureDialled(std::uint16_t number, const net::HostPort& proxy);
  net::Task<> KeepLinked(std::uint16_t number);
  net::Task<Error> DialAndServe(std::uint16_t number, net::HostPort proxy);

  net::EventLoop& loop_;
  NodeOptions options_;
  const InstanceId instance_;
  ChunkStore store_;
  SessionHost sessions_;
  MemoryLender lender_;
  NodeContext context_;
  net::Listener listener_;
  std::list<Connection*> connections_;
  std::map<std::uint16_t, Dialled> dialled_;
  net::Notification linked_;               // or another invocation came
  std::optional<Invocation> to_announce_;  // LinkAndAnnounce runs
  TimePoint announce_by_{};
  SyncSource* sync_source_ = nullptr;  // while it runs
  net::Notification sync_linked_;
  net::Notification sync_over_;
  SessionId sync_session_;  // whose backup this instance has to send
  bool sync_released_ = false;
  Random random_;
  bool stopping_ = false;
};

}  // namespace infinicache::node
