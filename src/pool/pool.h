// The nodes that one proxy manages: wakes them when requests want them, keeps those warm that hold
// something, tells every event loop's links when they may send, and tells the cache what was lost.
//
//   control loop:   Pool ── Platform (invocations, ends of sessions and instances)
//                    │  └── ControlLink per instance (PONG, BYE)
//                    │ post: instance, gate        ▲ post: demand, answered
//   data loops:     LoopLinks (one Link per node) … LoopLinks
//
// What to do is decided by policy::NodeMachine and policy::WarmUp, one of each per node; this class
// carries it out. Where the platform's sessions need not end (traits.standing) the pool keeps one
// open on every node.
//
// Thread-safety: NodeShared and View (nodes) from any thread; all else on the control loop, unless
// said otherwise.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/histogram.h"
#include "base/random.h"
#include "net/event_loop.h"
#include "net/timer.h"
#include "platform/platform.h"
#include "policy/meter.h"
#include "policy/node_machine.h"
#include "policy/warm_up.h"
#include "pool/backups.h"
#include "pool/control_link.h"
#include "pool/event_log.h"
#include "pool/link.h"
#include "pool/loop_links.h"
#include "pool/node_state.h"

namespace infinicache::pool {

struct PoolOptions {
  std::size_t nodes = 16;
  std::string secret;
  // The memory of nodes that stand on this machine, where they offer it.
  bool map_memory = false;
  bool borrow_memory = true;  // and write to it, if it is mapped
  net::SocketOptions link_socket;
  std::uint64_t seed = 1;
  // Where nodes dial us, if the platform's instances accept no connections.
  net::HostPort node_listen{"127.0.0.1", 0};
  std::optional<policy::WarmUpInterval::Options> warm_up = {};  // none: nodes are not kept warm
  std::optional<BackupOptions> backup = {};                     // none: nodes are not backed up
  policy::BillingRule billing = {};
  policy::NodeSize node_size = {};
  Duration wake_deadline = std::chrono::seconds(5);
};

struct PoolStats {
  Counter instances_started{0};
  Counter instances_adopted{0};  // of an earlier server, among those started
  Counter instances_ended{0};
  Counter instances_reclaimed{0};  // among those ended
  Counter invocations{0};
  Counter invocations_failed{0};
  Counter warm_ups{0};              // among the invocations
  Counter preflights{0};            // PINGs
  Counter demands{0};               // of links that may not send
  Counter requests_of_sessions{0};  // as the nodes told at their end
  Counter requests_crossed{0};      // a link's, with the end of their node's session
  Counter wakes_too_late{0};        // requests gave up the wait for a node
  Counter failovers{0};             // by an instance that is a copy of the one before
};

class Pool final : public platform::Observer, private ControlLink::Handler, private Backups::Host {
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

  // Called, on the control loop, when an instance took over that is a copy of the one before, or
  // was the node's some time ago, as `epoch`. Which chunks it has is to be found out, and told by
  // EndFailover.
  void set_on_failover(std::function<void(NodeId, Epoch)> callback) {
    on_failover_ = std::move(callback);
  }
  // The newest version that was given to any write. Every instance is told of it as it becomes its
  // node's (wire::EncodeSince), but not those that have chunks already: of an earlier server, which
  // told them, and copies.
  void set_newest_version(std::function<Version()> newest) { newest_version_ = std::move(newest); }
  // The copy that took over as `epoch` has nothing any more that was freed in the one before: it is
  // told of the newest version too.
  void TellSince(NodeId node, Epoch epoch);
  // What was stored in earlier epochs, and was not moved to `epoch`, is not there. False if
  // `epoch` is not the node's any more.
  bool EndFailover(NodeId node, Epoch epoch);

  // Listens for nodes that dial, if the platform's do. Errors: as net::Listener::Listen.
  Status Listen();
  // Starts the links; on a standing platform also an instance of every node.
  void Start();
  // The platform has an instance of an earlier server for the node: keeps waking it until
  // EndAdoption, so that its place becomes known. After Start.
  void BeginAdoption(NodeId node);
  void EndAdoption(NodeId node, bool adopted);
  // Where chunks of this instance are; nowhere if it is not the one that requests go to.
  Place PlaceOf(const platform::Instance& instance) const {
    if (nodes_[instance.node.value()]->instance.id != instance.id) return {};
    return {instance.node, Epoch(shared(instance.node).epoch)};
  }
  // Ends links and instances. Blocks for at most `grace` and the time that killing takes.
  void Stop(Duration grace);

  std::size_t size() const { return nodes_.size(); }
  std::span<NodeShared> shared() { return shared_; }
  const NodeShared& shared(NodeId node) const { return shared_[node.value()]; }
  // Nodes that serve requests: active, or asleep and woken by a request. From any thread.
  std::size_t active() const;
  const platform::Traits& traits() const { return platform_.traits(); }
  platform::InstanceCounts CountInstances() const { return platform_.Count(); }
  // What the sessions have used, and the pool's time until now. Of those under way it counts what
  // is certain, the time since their PONG, so that no sum ever falls.
  policy::Meter Metered() const;
  Duration uptime() const { return net::EventLoop::Now() - started_; }
  // How long an instance may be idle at present before it is warmed up; none if never.
  std::optional<Duration> warm_up_interval() const;
  // From any thread.
  std::vector<NodeView> View() const;
  const PoolStats& stats() const { return stats_; }
  // Null if nodes are not backed up.
  const Backups* backups() const { return backups_ ? &*backups_ : nullptr; }
  // From an invocation to its PONG.
  const LatencyHistogram& wakes() const { return wakes_; }
  const EventLog& events() const { return events_; }
  // For what befalls objects.
  EventLog& mutable_events() { return events_; }
  // Has the platform take a node's instance away. Errors: kNotFound (no such node, or it has no
  // instance).
  Status Reclaim(NodeId node);
  // Has the platform run the invocation of a node's open session once more, as a provider does that
  // repeats one of which it has not heard. Errors: kNotFound (no such node), kUnavailable (it is
  // in no session).
  Status RepeatInvocation(NodeId node);

  void OnInstanceReady(const platform::Instance& instance) override;
  void OnInstanceEnded(const platform::Instance& instance,
                       const platform::InstanceEnd& end) override;
  void OnSessionEnded(NodeId node, SessionId session, const platform::SessionEnd& end) override;

 private:
  struct OpenSession {
    SessionId id;
    policy::Cause cause = policy::Cause::kServing;
    TimePoint invoked;
    std::optional<TimePoint> ponged = {};
    InstanceId instance = {};  // that ponged
  };
  struct Node {
    Node(net::EventLoop& loop, const policy::NodeMachine::Options& options, std::uint64_t seed,
         policy::WarmUp its_warm_up)
        : machine(options, seed), warm_up(its_warm_up), tick(loop) {}
    policy::NodeMachine machine;
    policy::WarmUp warm_up;
    net::Timer tick;  // of the machine and the warm-up
    TimePoint tick_at = TimePoint::max();
    Gate gate;  // as the links were told
    std::uint32_t last_epoch = 0;
    int adopting = 0;                       // instances of an earlier server that may answer
    bool adopted = false;                   // one of them has
    platform::Instance instance;            // the one that requests go to
    std::vector<platform::Instance> known;  // that are ready, as far as the platform tells
    std::vector<std::shared_ptr<ControlLink>> controls;
    std::vector<OpenSession> sessions;
    policy::Cause wanted_for = policy::Cause::kServing;  // what the requests that wait are for
    bool wanted_for_backup = false;                      // one of the machine's demands is
    bool round_over = false;                             // the primary is to be told
    SessionId peer_session;                              // of the last round
    SessionId session;                                   // the machine's, as it was last seen
  };
  // Connections of nodes whose handshake is under way.
  static constexpr std::size_t kArrivingMax = 1024;
  // Instances of a node that are remembered: primary, peer, and those before or beside them.
  static constexpr std::size_t kKnownMax = 8;

  Node& at(NodeId node) { return *nodes_[node.value()]; }
  // Errors: kNotFound.
  Status CheckNode(NodeId node) const;
  void Invoke(NodeId node, SessionId session, policy::Purpose purpose, policy::Cause cause);
  // The open session that an instance has, or might have got: of two of one id, its own.
  static OpenSession* FindSession(Node& node, SessionId session, InstanceId instance);
  policy::NodeMachine::Options MachineOptions() const;
  void OnLinkEvent(NodeId node, LinkEvent event);
  void OnPong(NodeId node, const wire::Pong& pong) override;
  void OnBye(NodeId node, InstanceId instance, SessionId session, const wire::ByeTotals& totals,
             const wire::NodeFill& fill) override;
  void OnSyncReport(NodeId node, InstanceId instance, const wire::SyncReport& report) override;
  void OnControlLost(NodeId node, InstanceId instance) override;
  void OnTick(NodeId node);

  // Carries out what the machine wants, then sets the timer and the links' gates. Every event of a
  // node ends with it.
  void Apply(NodeId node, const policy::Actions& actions);
  void Do(NodeId node, const policy::Invoke& invoke);
  void Do(NodeId node, const policy::SendPreflight& preflight);
  void Do(NodeId node, const policy::FlushRequests& flush);
  void Do(NodeId node, const policy::FailWaiters& fail);
  void Do(NodeId node, const policy::DeclareLost& lost);
  void Do(NodeId node, const policy::UseInstance& use);
  void Do(NodeId node, const policy::PeerReady& ready);
  void Do(NodeId node, const policy::PeerGone& gone);

  void WantPrimary(NodeId node) override;
  void PrimaryWanted(NodeId node) override;
  bool WantPeer(NodeId node) override;
  std::optional<Duration> PeerIdleAtMost() const override { return warm_up_interval(); }
  bool Command(NodeId node, wire::SyncCommand command) override;
  void RoundOver(NodeId node) override;
  // Lets the primary go once the platform says that its peer has returned.
  void ReleasePrimary(NodeId node);
  // Soon: not within the handling of another event of the node.
  void Tell(void (Backups::*event)(NodeId), NodeId node);
  void WatchSession(NodeId node);
  // The instance is gone, and has a peer that may answer instead.
  void AwaitFailover(NodeId node);
  void FailOver(NodeId node, Epoch epoch);
  void KeepStanding(NodeId node);
  void TellSince(NodeId node);
  void UpdateGate(NodeId node);
  void UpdateState(NodeId node);
  void SetTick(NodeId node);
  // The node's instance holds chunks of which we do not know.
  void TakeStock(NodeId node);
  // The node's chunks in this epoch are gone.
  void Lose(NodeId node);
  void Announce(NodeId node, Epoch epoch, const platform::Instance& instance, bool copy);
  void OnLinks(NodeId node, const std::function<void(Link&)>& call);
  std::shared_ptr<ControlLink> MakeControl(NodeId node, InstanceId instance);
  void AddControl(NodeId node, const std::shared_ptr<ControlLink>& control);
  void StopControl(NodeId node, InstanceId instance);
  net::Task<> AcceptNodes();
  net::Task<> Welcome(net::Socket socket);
  net::Task<> Relay(net::Socket socket);

  net::EventLoop& control_;
  platform::Platform& platform_;
  PoolOptions options_;
  Random random_;
  std::uint64_t lend_owner_ = 0;  // by which nodes know this process
  bool stopping_ = false;
  TimePoint started_{};
  mutable std::mutex mutex_;  // guards the `instance` of every node, which View reads
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<NodeShared> shared_;
  std::vector<std::unique_ptr<LoopLinks>> loops_;
  std::optional<policy::WarmUpInterval> warm_up_interval_;
  std::optional<Backups> backups_;
  net::Listener listener_;
  std::size_t arriving_ = 0;
  std::function<void(NodeId, Epoch, InstanceId)> on_instance_lost_;
  std::function<void(NodeId, Epoch)> on_failover_;
  std::function<Version()> newest_version_;
  policy::Meter meter_;
  PoolStats stats_;
  LatencyHistogram wakes_;
  EventLog events_;
  const SystemClock clock_;
};

}  // namespace infinicache::pool
