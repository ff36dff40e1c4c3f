#include "node/node_server.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/log.h"
#include "net/crypto.h"
#include "net/handshake.h"
#include "net/timer.h"
#include "policy/backoff.h"

namespace infinicache::node {
namespace {

constexpr auto kDialTimeout = std::chrono::seconds(2);
constexpr auto kDialBackoffMin = std::chrono::milliseconds(5);
constexpr auto kDialBackoffMax = std::chrono::milliseconds(500);

InstanceId RandomInstance() {
  std::uint64_t id = 0;
  while (id == 0) net::RandomBytes(std::as_writable_bytes(std::span(&id, 1)));
  return InstanceId(id);
}

// What `options` asks for: the store's memory is named for the instance, so that nobody takes it
// for another's.
ChunkStore MakeStore(const NodeOptions& options, InstanceId instance) {
  if (!options.share_memory) return ChunkStore(options.memory_bytes);
  auto memory = SharedMemory::Create(wire::MemoryName(instance),
                                     ChunkStore::MemoryBytes(options.memory_bytes));
  if (memory) return ChunkStore(std::move(*memory), options.memory_bytes);
  LOG_WARN("memory is not shared: {}", memory.error().message);
  return ChunkStore(options.memory_bytes);
}

}  // namespace

NodeServer::NodeServer(net::EventLoop& loop, NodeOptions options)
    : loop_(loop),
      options_(std::move(options)),
      instance_(RandomInstance()),
      store_(MakeStore(options_, instance_)),
      sessions_(
          loop, instance_, options_.session,
          [this] { return wire::NodeFill{store_.bytes_used(), store_.chunks()}; },
          [this](SessionId session, wire::ByeTotals totals) {
            AbortSync();
            if (options_.on_session_end) options_.on_session_end(session, totals);
          }),
      lender_(store_,
              [this] {
                context_.copy_of = {};
                context_.sync_open = false;
              }),
      context_{store_,
               sessions_,
               options_.node,
               sessions_.instance(),
               options_.secret,
               options_.test_hooks,
               store_.shared_memory() != nullptr ? &lender_ : nullptr},
      listener_(loop),
      linked_(loop),
      sync_linked_(loop),
      sync_over_(loop),
      random_(sessions_.instance().value()) {
  context_.on_sync = [this](const wire::SyncCommand& command) { OnSync(command); };
  context_.on_sync_over = [this](SessionId session) {
    if (session != sync_session_) return;
    sync_released_ = true;
    sync_over_.Notify();
  };
  context_.on_sync_linked = [this] { sync_linked_.Notify(); };
}

Status NodeServer::Start() {
  if (options_.listen.host.empty()) return {};
  if (auto status = listener_.Listen(options_.listen); !status) return status;
  loop_.Spawn(AcceptLinks());
  return {};
}

void NodeServer::Stop() {
  stopping_ = true;
  sessions_.Shut();
  linked_.Notify();
  sync_linked_.Notify();
  listener_.Close();
  for (Connection* connection : connections_) connection->Close();
  AbortSync();
}

void NodeServer::Invoke(const Invocation& invocation) {
  if (stopping_) return;
  sessions_.Open(invocation.session, invocation.opening);
  if (invocation.proxy.host.empty()) return sessions_.Announce();
  announce_by_ = net::EventLoop::Now() + kLinksPatience;
  const bool runs = to_announce_.has_value();
  to_announce_ = invocation;
  if (runs) {
    linked_.Notify();
  } else {
    loop_.Spawn(LinkAndAnnounce());
  }
}

bool NodeServer::MissesDataLink() const {
  return std::any_of(dialled_.begin(), dialled_.end(), [](const auto& entry) {
    return entry.first != net::kControlLink && !entry.second.linked;
  });
}

// The control link comes last: when the proxy reads the PONG, the data links stand. One coroutine
// for all invocations: a session may be over before its links stand, and the next one begin.
net::Task<> NodeServer::LinkAndAnnounce() {
  while (!stopping_ && sessions_.session() == to_announce_->session) {
    const Invocation& invocation = *to_announce_;
    for (std::uint16_t i = 0; i < invocation.data_links; ++i)
      EnsureDialled(net::kFirstDataLink + i, invocation.proxy);
    if (MissesDataLink() && net::EventLoop::Now() < announce_by_) {
      co_await linked_.Wait(announce_by_);
      continue;
    }
    EnsureDialled(net::kControlLink, invocation.proxy);
    sessions_.Announce();
    break;
  }
  to_announce_.reset();
}

void NodeServer::EnsureDialled(std::uint16_t number, const net::HostPort& proxy) {
  Dialled& link = dialled_[number];
  const bool moved = link.proxy != proxy;  // another server has taken us over
  link.proxy = proxy;
  if (!link.kept) {
    link.kept = true;
    loop_.Spawn(KeepLinked(number));
  } else if (link.connection != nullptr && (moved || link.connection->IsDead())) {
    link.linked = false;
    link.connection->Close();  // and KeepLinked dials again
  }
}

// Ends when the link does while no session runs: the next session dials again.
net::Task<> NodeServer::KeepLinked(std::uint16_t number) {
  policy::Backoff backoff(kDialBackoffMin, kDialBackoffMax);
  while (!stopping_ && sessions_.running()) {
    const TimePoint dialled = net::EventLoop::Now();
    const net::HostPort proxy = dialled_[number].proxy;
    const Error reason = co_await DialAndServe(number, proxy);
    if (stopping_ || !sessions_.running()) break;
    if (dialled_[number].proxy != proxy) continue;
    LOG_DEBUG("no link {} to the proxy at {}: {}", number, proxy.ToString(), reason.ToString());
    if (net::EventLoop::Now() - dialled > kDialBackoffMax) backoff.Reset();
    co_await loop_.Sleep(backoff.Next(random_));
  }
  dialled_[number].kept = false;
}

net::Task<Error> NodeServer::DialAndServe(std::uint16_t number, net::HostPort proxy) {
  auto socket = co_await net::Socket::Connect(loop_, proxy, options_.socket,
                                              net::EventLoop::Now() + kDialTimeout);
  if (!socket) co_return socket.error();
  if (stopping_) co_return Error{ErrorCode::kCancelled, "the node ends"};
  Connection connection(context_, std::move(*socket));
  const auto place = connections_.insert(connections_.end(), &connection);
  Dialled& link = dialled_[number];
  link.connection = &connection;
  const Error reason = co_await connection.RunDialled(number, [&] {
    link.linked = true;
    linked_.Notify();
  });
  connections_.erase(place);
  link.connection = nullptr;
  link.linked = false;
  co_return reason;
}

void NodeServer::OnSync(const wire::SyncCommand& command) {
  if (stopping_ || !sessions_.Accepts()) return;
  // One that was given up without a word; the proxy tries again.
  if (command.is_source && sync_session_ != SessionId()) return AbortSync();
  loop_.Spawn(command.is_source ? BackUp(command) : BeBackup(command));
}

void NodeServer::AbortSync() {
  if (sync_source_ != nullptr) sync_source_->Abort();
  if (sync_session_ != SessionId()) sync_over_.Notify();
  if (context_.sync_link != nullptr) context_.sync_link->Close();
}

// The session goes on until the peer's is over: of two idle instances a platform takes the one that
// was used last, and that should be this one.
net::Task<> NodeServer::BackUp(wire::SyncCommand command) {
  sessions_.Begin();
  sync_session_ = command.session;
  sync_released_ = false;
  wire::SyncReport report;
  report.session = command.session;
  const Status status = co_await BackUpTo(command, report.totals);
  if (!status) {
    LOG_DEBUG("the backup ended early: {}", status.error().ToString());
    report.failure = status.error().code;
  }
  if (sessions_.session() == command.session)
    sessions_.SendControl(wire::EncodeSyncReport(report), wire::EncodeSyncTotals(report.totals));
  const TimePoint patience = net::EventLoop::Now() + kSyncPatience;
  while (!stopping_ && !sync_released_ && sessions_.session() == command.session &&
         net::EventLoop::Now() < patience)
    (void)co_await sync_over_.Wait(patience);
  sync_session_ = SessionId();
  sessions_.Finish();
}

net::Task<Status> NodeServer::BackUpTo(const wire::SyncCommand& command, wire::SyncTotals& totals) {
  const TimePoint deadline = net::EventLoop::Now() + command.within;
  auto socket = co_await DialPeer(command, deadline);
  if (!socket) co_return tl::make_unexpected(socket.error());
  if (stopping_ || sync_source_ != nullptr || sessions_.session() != command.session)
    co_return Fail(ErrorCode::kCancelled, "the session has ended, or another backup runs");
  SyncSource source(store_, instance(), *socket, deadline, command.bytes_per_second);
  sync_source_ = &source;
  const Status status = co_await source.Run();
  sync_source_ = nullptr;
  totals = source.totals();
  co_return status;
}

net::Task<Result<net::Socket>> NodeServer::DialPeer(const wire::SyncCommand& command,
                                                    TimePoint deadline) {
  const auto address = net::ParseHostPort(command.address);
  if (!address) co_return tl::make_unexpected(address.error());
  auto socket = co_await net::Socket::Connect(loop_, *address, options_.socket, deadline);
  if (!socket) co_return socket;
  // No more than the handshake's frames is read ahead: nothing of the peer's answers.
  net::FrameReader reader(*socket, wire::kFrameHeaderBytes);
  if (command.by_relay) {
    auto status = co_await net::HandshakeAsDialingNode(*socket, reader, options_.secret,
                                                       context_.Status(), net::kSyncLink, deadline);
    wire::FrameHeader header;
    header.type = wire::FrameType::kSync;
    const auto& token = command.token;
    if (status) {
      status = co_await net::SendMetaFrame(
          *socket, header, {reinterpret_cast<const char*>(token.data()), token.size()});
    }
    if (!status) co_return tl::make_unexpected(status.error());
    co_return socket;
  }
  const auto peer =
      co_await net::HandshakeAsDialer(*socket, reader, options_.secret, deadline, net::kSyncLink);
  if (!peer) co_return tl::make_unexpected(peer.error());
  if (peer->instance != command.other)
    co_return Fail(ErrorCode::kUnavailable, "the peer is another instance than was expected");
  co_return socket;
}

// Keeps the session open until the source's link does, for which it has some time to come.
net::Task<> NodeServer::BeBackup(wire::SyncCommand command) {
  sessions_.Begin();
  if (command.by_relay) {
    if (auto served = co_await ServeRelay(command); !served)
      LOG_DEBUG("the backup did not come: {}", served.error().ToString());
  } else if (context_.sync_link == nullptr) {
    (void)co_await sync_linked_.Wait(net::EventLoop::Now() +
                                     std::min(command.within, Duration(kSyncPatience)));
  }
  sessions_.FinishAndEnd(command.session);
}

net::Task<Status> NodeServer::ServeRelay(const wire::SyncCommand& command) {
  const auto address = net::ParseHostPort(command.address);
  if (!address) co_return tl::make_unexpected(address.error());
  auto socket = co_await net::Socket::Connect(loop_, *address, options_.socket,
                                              net::EventLoop::Now() + kDialTimeout);
  if (!socket) co_return tl::make_unexpected(socket.error());
  if (stopping_ || sessions_.session() != command.session)
    co_return Fail(ErrorCode::kCancelled, "the session has ended");
  Connection connection(context_, std::move(*socket));
  const auto place = connections_.insert(connections_.end(), &connection);
  net::Timer cutoff(loop_);
  cutoff.Start(command.within, [&connection] { connection.Close(); });
  const Error reason = co_await connection.RunSynced(command.token);
  connections_.erase(place);
  LOG_DEBUG("the backup's link ended: {}", reason.ToString());
  co_return Status{};
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
