// The nodes that one proxy manages: keeps an instance of each alive, tells every event loop's links
// of it, and tells the cache what was lost.
//
//   control loop:   Pool ── Platform (start, end of instances)
//                    │ post
//   data loops:     LoopLinks (one Link per node) … LoopLinks
//
// Thread-safety: NodeShared and View (nodes) from any thread; all else on the control loop, unless
// said otherwise.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/histogram.h"
#include "base/random.h"
#include "net/event_loop.h"
#include "net/timer.h"
#include "platform/platform.h"
#include "policy/backoff.h"
#include "pool/event_log.h"
#include "pool/link.h"
#include "pool/node_state.h"

namespace infinicache::pool {

// One loop's links, by node. Used on that loop only.
class LoopLinks {
 public:
  LoopLinks(net::EventLoop& loop, std::span<NodeShared> nodes, const std::string& secret,
            net::SocketOptions socket, std::uint64_t seed);

  void Start();
  void Stop();
  Link& at(NodeId node) { return *links_[node.value()]; }
  std::span<const std::unique_ptr<Link>> all() const { return links_; }
  std::size_t connected() const;
  // Connected links of which no answer is overdue.
  std::size_t responsive() const;
  net::EventLoop& loop() { return loop_; }

 private:
  net::EventLoop& loop_;
  std::vector<std::unique_ptr<Link>> links_;
};

struct PoolOptions {
  std::size_t nodes = 16;
  std::string secret;
  net::SocketOptions link_socket;
  std::uint64_t seed = 1;
};

struct PoolStats {
  Counter instances_started{0};
  Counter instances_ended{0};
  Counter instances_reclaimed{0};  // among those ended
  Counter invocations_failed{0};
};

class Pool final : public platform::Observer {
 public:
  // REQUIRES: `platform` and the loops outlive the pool.
  Pool(net::EventLoop& control, platform::Platform& platform, PoolOptions options);
  ~Pool() override;

  // Makes the links of one data loop. Before Start. The result lives as long as the pool.
  LoopLinks& AddLoop(net::EventLoop& loop);

  // Called, on the control loop, when an instance and all its chunks are gone.
  void set_on_instance_lost(std::function<void(NodeId, Epoch, InstanceId)> callback) {
    on_instance_lost_ = std::move(callback);
  }

  // Starts an instance of every node and the links to them.
  void Start();
  // Ends links and instances. Blocks for at most `grace` and the time that killing takes.
  void Stop(Duration grace);

  std::size_t size() const { return nodes_.size(); }
  std::span<NodeShared> shared() { return shared_; }
  const NodeShared& shared(NodeId node) const { return shared_[node.value()]; }
  // Nodes with a living instance. From any thread.
  std::size_t active() const;
  // From any thread.
  std::vector<NodeView> View() const;
  const PoolStats& stats() const { return stats_; }
  const EventLog& events() const { return events_; }
  // For what befalls objects.
  EventLog& mutable_events() { return events_; }
  // Has the platform take a node's instance away. Errors: kNotFound (no such node, or it has no
  // instance).
  Status Reclaim(NodeId node);

  void OnInstanceReady(const platform::Instance& instance) override;
  void OnInstanceEnded(const platform::Instance& instance,
                       const platform::InstanceEnd& end) override;
  void OnInvokeFailed(NodeId node, const Error& error) override;

 private:
  struct Node {
    explicit Node(net::EventLoop& loop);
    std::uint32_t last_epoch = 0;
    platform::Instance instance;
    policy::Backoff backoff;
    net::Timer retry;
    TimePoint ready_at{};
  };

  void Invoke(NodeId node);
  void InvokeLater(NodeId node);
  void Announce(NodeId node, Epoch epoch, InstanceId instance, const net::HostPort& address);

  net::EventLoop& control_;
  platform::Platform& platform_;
  PoolOptions options_;
  Random random_;
  bool stopping_ = false;
  mutable std::mutex mutex_;  // guards the `instance` of every node, which View reads
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<NodeShared> shared_;
  std::vector<std::unique_ptr<LoopLinks>> loops_;
  std::function<void(NodeId, Epoch, InstanceId)> on_instance_lost_;
  PoolStats stats_;
  EventLog events_;
  const SystemClock clock_;
};

}  // namespace infinicache::pool
