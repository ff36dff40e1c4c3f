#include "node/node_server.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/log.h"
#include "net/crypto.h"
#include "net/handshake.h"
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

}  // namespace

NodeServer::NodeServer(net::EventLoop& loop, NodeOptions options)
    : loop_(loop),
      options_(std::move(options)),
      store_(options_.memory_bytes),
      sessions_(
          loop, RandomInstance(), options_.session,
          [this] { return wire::NodeFill{store_.bytes_used(), store_.chunks()}; },
          [this](SessionId session, wire::ByeTotals totals) {
            if (options_.on_session_end) options_.on_session_end(session, totals);
          }),
      context_{store_,          sessions_,          options_.node, sessions_.instance(),
               options_.secret, options_.test_hooks},
      listener_(loop),
      linked_(loop),
      random_(sessions_.instance().value()) {}

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
  listener_.Close();
  for (Connection* connection : connections_) connection->Close();
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
