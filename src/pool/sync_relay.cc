#include "pool/sync_relay.h"

#include <array>
#include <utility>
#include <vector>

#include "base/log.h"

namespace infinicache::pool {

void SyncRelay::Pair::Shutdown() {
  if (first) first->Shutdown();
  if (second) second->Shutdown();
}

void SyncRelay::Open(const wire::SyncToken& token) {
  pairs_.try_emplace(token, std::make_shared<Pair>());
}

void SyncRelay::Close(const wire::SyncToken& token) {
  const auto found = pairs_.find(token);
  if (found == pairs_.end()) return;
  found->second->Shutdown();
  pairs_.erase(found);
}

void SyncRelay::CloseAll() {
  for (const auto& [token, pair] : pairs_) pair->Shutdown();
  pairs_.clear();
}

void SyncRelay::Take(const wire::SyncToken& token, net::Socket socket) {
  const auto found = pairs_.find(token);
  if (found == pairs_.end() || found->second->second) {
    LOG_DEBUG("closed a link of a backup that is over");
    return;
  }
  const std::shared_ptr<Pair> pair = found->second;
  if (!pair->first) {
    pair->first = std::make_unique<net::Socket>(std::move(socket));
    return;
  }
  pair->second = std::make_unique<net::Socket>(std::move(socket));
  loop_.Spawn(Copy(pair, *pair->first, *pair->second));
  loop_.Spawn(Copy(pair, *pair->second, *pair->first));
}

net::Task<> SyncRelay::Copy(std::shared_ptr<Pair> pair, net::Socket& from, net::Socket& to) {
  std::vector<std::byte> buffer(kBufferBytes);
  for (;;) {
    const auto count = co_await from.ReadSome(std::span(buffer));
    if (!count) break;
    iovec piece = net::ToIovec(std::span<const std::byte>(buffer).first(*count));
    if (!co_await to.WriteAll({&piece, 1})) break;
  }
  // What was written before still arrives.
  pair->Shutdown();
}

}  // namespace infinicache::pool
