#include "pool/pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"

namespace infinicache::pool {
namespace {

constexpr auto kInvokeBackoffMin = std::chrono::milliseconds(50);
constexpr auto kInvokeBackoffMax = std::chrono::seconds(10);
// An instance that lived this long was not a failed start.
constexpr auto kStableAfter = std::chrono::seconds(10);

}  // namespace

LoopLinks::LoopLinks(net::EventLoop& loop, std::span<NodeShared> nodes, const std::string& secret,
                     net::SocketOptions socket, std::uint64_t seed)
    : loop_(loop) {
  for (std::uint32_t i = 0; i < nodes.size(); ++i) {
    links_.push_back(
        std::make_unique<Link>(loop, nodes[i], LinkOptions{NodeId(i), secret, socket, seed + i}));
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

std::size_t LoopLinks::responsive() const {
  return static_cast<std::size_t>(std::count_if(links_.begin(), links_.end(), [](const auto& link) {
    return link->connected() && !link->suspect();
  }));
}

Pool::Node::Node(net::EventLoop& loop)
    : backoff(kInvokeBackoffMin, kInvokeBackoffMax), retry(loop) {}

Pool::Pool(net::EventLoop& control, platform::Platform& platform, PoolOptions options)
    : control_(control),
      platform_(platform),
      options_(std::move(options)),
      random_(options_.seed),
      shared_(options_.nodes) {
  CHECK(options_.nodes > 0 && options_.nodes <= kNodesMax);
  for (std::size_t i = 0; i < options_.nodes; ++i)
    nodes_.push_back(std::make_unique<Node>(control_));
  platform_.set_observer(this);
}

Pool::~Pool() = default;

LoopLinks& Pool::AddLoop(net::EventLoop& loop) {
  loops_.push_back(
      std::make_unique<LoopLinks>(loop, shared_, options_.secret, options_.link_socket, random_()));
  return *loops_.back();
}

void Pool::Start() {
  for (const auto& links : loops_) {
    links->loop().Post([&links = *links] { links.Start(); });
  }
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) Invoke(NodeId(i));
}

void Pool::Stop(Duration grace) {
  stopping_ = true;
  for (const auto& node : nodes_) node->retry.Cancel();
  for (const auto& links : loops_) {
    links->loop().Post([&links = *links] { links.Stop(); });
  }
  platform_.Stop(grace);
}

void Pool::Invoke(NodeId node) {
  if (stopping_) return;
  shared_[node.value()].state = NodeState::kStarting;
  platform_.Invoke(node);
}

void Pool::InvokeLater(NodeId node) {
  shared_[node.value()].state = NodeState::kDown;
  if (stopping_) return;
  Node& entry = *nodes_[node.value()];
  entry.retry.Start(entry.backoff.Next(random_), [this, node] { Invoke(node); });
}

void Pool::Announce(NodeId node, Epoch epoch, InstanceId instance, const net::HostPort& address) {
  for (const auto& links : loops_) {
    links->loop().Post([&link = links->at(node), epoch, instance, address] {
      link.SetInstance(epoch, instance, address);
    });
  }
}

void Pool::OnInstanceReady(const platform::Instance& instance) {
  Node& node = *nodes_[instance.node.value()];
  NodeShared& shared = shared_[instance.node.value()];
  {
    const std::scoped_lock lock(mutex_);
    node.instance = instance;
  }
  node.ready_at = net::EventLoop::Now();
  const Epoch epoch(++node.last_epoch);
  shared.bytes_used = 0;
  shared.chunks = 0;
  shared.bytes_limit = platform_.traits().node_memory_bytes;
  shared.epoch.store(epoch.value(), std::memory_order_release);
  shared.state = NodeState::kActive;
  Add(stats_.instances_started);
  LOG_DEBUG("node is up node={} instance={:016x} address={}", instance.node.value(),
            instance.id.value(), instance.address.ToString());
  events_.Add(clock_.WallNow(), EventKind::kInstanceStarted, instance.node, instance.id,
              instance.address.ToString());
  Announce(instance.node, epoch, instance.id, instance.address);
}

void Pool::OnInstanceEnded(const platform::Instance& instance, const platform::InstanceEnd& end) {
  Node& node = *nodes_[instance.node.value()];
  NodeShared& shared = shared_[instance.node.value()];
  const Epoch lost(shared.epoch.exchange(0));
  shared.bytes_used = 0;
  shared.chunks = 0;
  {
    const std::scoped_lock lock(mutex_);
    node.instance = {};
  }
  Add(stats_.instances_ended);
  if (end.reclaimed) {
    Add(stats_.instances_reclaimed);
    LOG_INFO("instance reclaimed node={} instance={:016x}", instance.node.value(),
             instance.id.value());
  } else {
    LOG_WARN("instance ended node={} instance={:016x}: {}", instance.node.value(),
             instance.id.value(), end.reason);
  }
  events_.Add(clock_.WallNow(),
              end.reclaimed ? EventKind::kInstanceReclaimed : EventKind::kInstanceEnded,
              instance.node, instance.id, end.reason);
  Announce(instance.node, Epoch(), InstanceId(), {});
  if (on_instance_lost_) on_instance_lost_(instance.node, lost, instance.id);
  // What the platform took away had not failed.
  if (end.reclaimed || net::EventLoop::Now() - node.ready_at > kStableAfter) node.backoff.Reset();
  InvokeLater(instance.node);
}

void Pool::OnInvokeFailed(NodeId node, const Error& error) {
  Add(stats_.invocations_failed);
  events_.Add(clock_.WallNow(), EventKind::kInvocationFailed, node, InstanceId(), error.ToString());
  LOG_WARN("node did not start node={}: {}", node.value(), error.ToString());
  InvokeLater(node);
}

Status Pool::Reclaim(NodeId node) {
  if (node.value() >= nodes_.size()) {
    return Fail(ErrorCode::kNotFound, fmt::format("there is no node {}; nodes are 0 to {}",
                                                  node.value(), nodes_.size() - 1));
  }
  return platform_.Reclaim(node);
}

std::size_t Pool::active() const {
  return static_cast<std::size_t>(std::count_if(
      shared_.begin(), shared_.end(),
      [](const NodeShared& node) { return node.epoch.load(std::memory_order_relaxed) != 0; }));
}

std::vector<NodeView> Pool::View() const {
  std::vector<NodeView> rows;
  const std::scoped_lock lock(mutex_);
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    const platform::Instance& instance = nodes_[i]->instance;
    const NodeShared& shared = shared_[i];
    rows.push_back(
        {NodeId(i), shared.state, instance.id, instance.pid,
         instance.pid == 0 && instance.id == InstanceId() ? "" : instance.address.ToString(),
         shared.bytes_used, shared.bytes_limit, shared.chunks});
  }
  return rows;
}

}  // namespace infinicache::pool
