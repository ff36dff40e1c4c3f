#include "pool/loop_links.h"

#include <algorithm>

namespace infinicache::pool {

LoopLinks::LoopLinks(net::EventLoop& loop, std::span<NodeShared> nodes, const LinkOptions& options)
    : loop_(loop) {
  for (std::uint32_t i = 0; i < nodes.size(); ++i) {
    LinkOptions own = options;
    own.node = NodeId(i);
    own.seed = options.seed + i;
    own.wake_delay = &wake_delay_;
    if (own.lend_account) ++nodes[i].borrowers;
    links_.push_back(std::make_unique<Link>(loop, nodes[i], own));
  }
}

void LoopLinks::Start() {
  for (const auto& link : links_) loop_.Spawn(link->Run());
}

void LoopLinks::Stop() {
  for (const auto& link : links_) link->Stop();
}

std::size_t LoopLinks::connected() const {
  return static_cast<std::size_t>(std::count_if(
      links_.begin(), links_.end(), [](const auto& link) { return link->connected(); }));
}

std::size_t LoopLinks::available() const {
  return static_cast<std::size_t>(std::count_if(
      links_.begin(), links_.end(), [](const auto& link) { return link->available(); }));
}

std::size_t LoopLinks::responsive() const {
  return static_cast<std::size_t>(std::count_if(links_.begin(), links_.end(), [](const auto& link) {
    return link->available() && !link->suspect();
  }));
}

}  // namespace infinicache::pool
