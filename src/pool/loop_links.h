// The links of one event loop to every node of the pool.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.h"
#include "net/event_loop.h"
#include "policy/smoothed_delay.h"
#include "pool/link.h"
#include "pool/node_state.h"

namespace infinicache::pool {

// Used on its loop only.
class LoopLinks {
 public:
  LoopLinks(net::EventLoop& loop, std::span<NodeShared> nodes, const LinkOptions& options);
  LoopLinks(const LoopLinks&) = delete;
  LoopLinks& operator=(const LoopLinks&) = delete;

  void Start();
  void Stop();
  Link& at(NodeId node) { return *links_[node.value()]; }
  std::span<const std::unique_ptr<Link>> all() const { return links_; }
  std::size_t connected() const;
  // Links that take requests: connected, or of nodes that can be woken.
  std::size_t available() const;
  // Those of which no answer is overdue.
  std::size_t responsive() const;
  // How long nodes take from a demand to their answer.
  const policy::SmoothedDelay& wake_delay() const { return wake_delay_; }
  net::EventLoop& loop() { return loop_; }

 private:
  net::EventLoop& loop_;
  policy::SmoothedDelay wake_delay_;
  std::vector<std::unique_ptr<Link>> links_;
};

}  // namespace infinicache::pool
