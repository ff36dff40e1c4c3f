// The RESP front: accepts clients and gives each to one of the cache's workers, round-robin;
// everything a client does from then on stays on that worker's loop.
//
// Thread-safety: construction, Listen, Start and Stop on the control loop; the accessors from any
// thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "cache/cache.h"
#include "net/event_loop.h"
#include "net/socket.h"
#include "net/timer.h"
#include "pool/pool.h"
#include "proxy/stats.h"

namespace infinicache::proxy {

class Session;

struct ServerOptions {
  net::HostPort listen{"127.0.0.1", 6378};
  std::size_t max_clients = 10000;
  // A client that neither takes nor sends a byte for this long while a request is under way is
  // closed.
  Duration client_timeout = std::chrono::seconds(60);
  std::string password;  // empty: no AUTH needed
  std::string version;
  std::function<void()> shutdown;  // what SHUTDOWN does; called on the control loop
  std::function<std::vector<std::pair<std::string, std::string>>()>
      config;  // what CONFIG GET shows
};

class Server {
 public:
  // REQUIRES: all arguments outlive the server.
  Server(net::EventLoop& control, cache::Cache& cache, pool::Pool& pool, ServerOptions options);
  ~Server();

  // Errors: as net::Listener::Listen.
  Status Listen();
  void Start();
  // Stops accepting and closes all clients; they are gone soon after.
  void Stop();

  net::HostPort address() const { return listener_.address(); }
  std::size_t clients() const { return clients_.load(std::memory_order_relaxed); }
  const ProxyStats& stats() const { return stats_; }
  std::span<const CommandStats> command_stats() const { return command_stats_; }

  // For sessions and commands.
  cache::Cache& cache() { return cache_; }
  pool::Pool& pool() { return pool_; }
  const ServerOptions& options() const { return options_; }
  ProxyStats& mutable_stats() { return stats_; }
  CommandStats& mutable_command_stats(std::size_t command) { return command_stats_[command]; }
  TimePoint started_at() const { return started_at_; }
  const std::string& run_id() const { return run_id_; }
  void Shutdown();
  // One line per client, as CLIENT LIST shows it. Asks every loop; one that does not answer within
  // a second is left out. Call on `loop`, one of the workers'.
  net::Task<std::vector<std::string>> DescribeClients(net::EventLoop& loop);

 private:
  // One loop's sessions; its list is used on that loop only.
  struct Front {
    explicit Front(cache::Worker& w) : worker(w), sweep(w.loop()) {}
    cache::Worker& worker;
    std::list<Session*> sessions;
    net::Timer sweep;
  };

  net::Task<> AcceptClients();
  net::Task<> Serve(Front& front, net::Socket socket, std::uint64_t id);
  void SweepStalled(Front& front);

  net::EventLoop& control_;
  cache::Cache& cache_;
  pool::Pool& pool_;
  ServerOptions options_;
  net::Listener listener_;
  std::vector<std::unique_ptr<Front>> fronts_;
  ProxyStats stats_;
  std::vector<CommandStats> command_stats_;
  std::atomic<std::size_t> clients_{0};
  std::uint64_t last_client_id_ = 0;
  TimePoint started_at_;
  std::string run_id_;
};

}  // namespace infinicache::proxy
