// Joins the two instances of a backup where instances accept no connections: both dial the proxy,
// say the token that they were given, and what one sends goes to the other. One port, the pool's,
// serves all.
//
// The first of the two waits for the second until the round is over. Bytes are copied through a
// buffer of kBufferBytes each way, so that a slow receiver holds back its sender.
//
// Thread-safety: one event loop.
#pragma once

#include <cstddef>
#include <map>
#include <memory>

#include "base/bytes.h"
#include "base/clock.h"
#include "net/socket.h"
#include "net/task.h"
#include "net/timer.h"
#include "wire/sync_frames.h"

namespace infinicache::pool {

class SyncRelay {
 public:
  static constexpr std::size_t kBufferBytes = 64 * kKiB;

  explicit SyncRelay(net::EventLoop& loop) : loop_(loop) {}

  // Lets in two connections with this token, until Close.
  void Open(const wire::SyncToken& token);
  // Ends them.
  void Close(const wire::SyncToken& token);
  void CloseAll();
  // A connection that said `token`, behind its handshake. It is closed if nobody waits for it.
  void Take(const wire::SyncToken& token, net::Socket socket);

 private:
  struct Pair {
    std::unique_ptr<net::Socket> first;
    std::unique_ptr<net::Socket> second;
    void Shutdown();
  };

  static net::Task<> Copy(std::shared_ptr<Pair> pair, net::Socket& from, net::Socket& to);

  net::EventLoop& loop_;
  std::map<wire::SyncToken, std::shared_ptr<Pair>> pairs_;
};

}  // namespace infinicache::pool
