#include "proxy/server.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "net/crypto.h"
#include "net/notification.h"
#include "proxy/command.h"
#include "proxy/session.h"

namespace infinicache::proxy {
namespace {
// Of connections within one machine: what is in flight stays in the L2 cache. Between machines the
// kernel's autotuning serves the bandwidth-delay product.
constexpr int kLocalBufferBytes = 256 * 1024;
constexpr Duration kSweepEvery = std::chrono::seconds(1);
constexpr Duration kDescribeAtMost = std::chrono::seconds(1);

// What the loops add to while one waits; outlives whoever is last.
struct ClientList {
  explicit ClientList(net::EventLoop& loop, std::size_t loops) : changed(loop), missing(loops) {}
  net::Notification changed;  // used on the asking loop
  std::mutex mutex;
  std::vector<std::string> lines;
  std::size_t missing;
};
}  // namespace

Server::Server(net::EventLoop& control, cache::Cache& cache, pool::Pool& pool,
               ServerOptions options)
    : control_(control),
      cache_(cache),
      pool_(pool),
      options_(std::move(options)),
      listener_(control),
      command_stats_(Commands().size()),
      started_at_(net::EventLoop::Now()),
      run_id_(net::RandomHex(20)) {
  for (std::size_t i = 0; i < Commands().size(); ++i) command_stats_[i].name = Commands()[i].name;
  for (std::size_t i = 0; i < cache_.workers(); ++i)
    fronts_.push_back(std::make_unique<Front>(cache_.worker(i)));
}

Server::~Server() = default;

Status Server::Listen() {
  return listener_.Listen(options_.listen);
}

void Server::Start() {
  for (const auto& front : fronts_) {
    front->worker.loop().Post([this, &front = *front] { SweepStalled(front); });
  }
  control_.Spawn(AcceptClients());
}

void Server::Stop() {
  listener_.Close();
  for (const auto& front : fronts_) {
    front->worker.loop().Post([&front = *front] {
      front.sweep.Cancel();
      for (Session* session : front.sessions) session->Close();
    });
  }
}

void Server::Shutdown() {
  control_.Post([this] {
    if (options_.shutdown) options_.shutdown();
  });
}

net::Task<> Server::AcceptClients() {
  std::size_t next = 0;
  for (;;) {
    Front& front = *fronts_[next];
    auto socket = co_await listener_.Accept(front.worker.loop());
    if (!socket) {
      if (socket.error().code == ErrorCode::kCancelled) co_return;
      LOG_WARN_EVERY(std::chrono::seconds(1), "{}", socket.error().ToString());
      co_await control_.Sleep(std::chrono::milliseconds(50));
      continue;
    }
    socket->Configure({socket->peer_is_loopback() ? kLocalBufferBytes : 0, 0});
    if (clients() >= options_.max_clients) {
      Add(stats_.connections_rejected);
      static constexpr std::string_view kRefusal = "-ERR max number of clients reached\r\n";
      const iovec piece = net::ToIovec(kRefusal);
      if (!socket->TryWrite(std::span(&piece, 1))) LOG_DEBUG("a refused client left first");
      continue;
    }
    Add(stats_.connections_accepted);
    clients_.fetch_add(1, std::memory_order_relaxed);
    next = (next + 1) % fronts_.size();
    front.worker.loop().Spawn(Serve(front, std::move(*socket), ++last_client_id_));
  }
}

net::Task<> Server::Serve(Front& front, net::Socket socket, std::uint64_t id) {
  {
    Session session(*this, front.worker, std::move(socket), id);
    const auto place = front.sessions.insert(front.sessions.end(), &session);
    co_await session.Run();
    front.sessions.erase(place);
  }
  clients_.fetch_sub(1, std::memory_order_relaxed);
}

net::Task<std::vector<std::string>> Server::DescribeClients(net::EventLoop& loop) {
  auto list = std::make_shared<ClientList>(loop, fronts_.size());
  for (const auto& front : fronts_) {
    front->worker.loop().Post([list, &loop, &front = *front] {
      const std::scoped_lock lock(list->mutex);
      for (const Session* session : front.sessions) list->lines.push_back(session->Describe());
      if (--list->missing == 0) loop.Post([list] { list->changed.Notify(); });
    });
  }
  co_await list->changed.Wait(net::EventLoop::Now() + kDescribeAtMost);
  const std::scoped_lock lock(list->mutex);
  co_return std::move(list->lines);
}

void Server::SweepStalled(Front& front) {
  const TimePoint now = net::EventLoop::Now();
  for (Session* session : front.sessions) {
    if (!session->IsStalled(now)) continue;
    LOG_WARN_EVERY(std::chrono::seconds(1), "client {} makes no progress; closed", session->id());
    session->Close();
  }
  front.sweep.Start(kSweepEvery, [this, &front] { SweepStalled(front); });
}

}  // namespace infinicache::proxy
