#include "pool/pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <span>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/crypto.h"
#include "wire/lending.h"

namespace infinicache::pool {
namespace {

constexpr auto kInvokeBackoffMin = std::chrono::milliseconds(100);
constexpr auto kInvokeBackoffMax = std::chrono::seconds(10);
// A standing session that lasted this long was not a failed start.
constexpr auto kStableAfter = std::chrono::seconds(10);
// A platform's word of a session's return follows its BYE within this, as a rule.
constexpr auto kReturnGrace = std::chrono::milliseconds(200);
constexpr std::size_t kOpenSessionsMax = 16;

policy::Cause CauseOf(policy::Purpose purpose, policy::Cause wanted_for) {
  switch (purpose) {
    case policy::Purpose::kWarmUp:
      return policy::Cause::kWarmUp;
    case policy::Purpose::kBackup:
      return policy::Cause::kBackup;
    case policy::Purpose::kRequest:
      break;
  }
  return wanted_for;
}

}  // namespace

Pool::Pool(net::EventLoop& control, platform::Platform& platform, PoolOptions options)
    : control_(control),
      platform_(platform),
      options_(std::move(options)),
      random_(options_.seed),
      shared_(options_.nodes),
      listener_(control),
      meter_(options_.billing) {
  CHECK(options_.nodes > 0 && options_.nodes <= kNodesMax);
  const TimePoint now = net::EventLoop::Now();
  for (std::size_t i = 0; i < options_.nodes; ++i) {
    nodes_.push_back(std::make_unique<Node>(control_, MachineOptions(), random_(),
                                            policy::WarmUp(now, random_)));
    shared_[i].host = platform_.HostOf(NodeId(static_cast<NodeId::Value>(i)));
    if (traits().standing) continue;
    shared_[i].bytes_limit = traits().node_memory_bytes;
    shared_[i].state = NodeState::kAsleep;
  }
  if (options_.warm_up && !traits().standing) warm_up_interval_.emplace(*options_.warm_up);
  if (options_.backup && !traits().standing) {
    Backups::Host& host = *this;
    backups_.emplace(control_, host, shared_, !traits().inbound, *options_.backup, random_());
  }
  net::RandomBytes(std::as_writable_bytes(std::span(&lend_owner_, 1)));
  platform_.set_observer(this);
}

Pool::~Pool() = default;

policy::NodeMachine::Options Pool::MachineOptions() const {
  policy::NodeMachine::Options machine;
  machine.preflight.notifies = traits().notifies;
  machine.wake_deadline = options_.wake_deadline;
  // So that a peer can still serve what has waited.
  machine.look_patience = std::min(machine.look_patience, options_.wake_deadline / 2);
  machine.session_maximum = traits().session_max;
  machine.return_grace = traits().standing ? Duration(0) : Duration(kReturnGrace);
  machine.backoff_initial = kInvokeBackoffMin;
  machine.backoff_max = kInvokeBackoffMax;
  // A standing node is not asked for: it is tried again and again.
  if (traits().standing) machine.failures_max = std::numeric_limits<int>::max();
  return machine;
}

LoopLinks& Pool::AddLoop(net::EventLoop& loop) {
  LinkOptions link;
  link.map_memory =
      options_.map_memory && platform_.traits().same_host && platform_.traits().standing;
  if (link.map_memory && options_.borrow_memory && loops_.size() < wire::kLendAccounts)
    link.lend_account = {lend_owner_, static_cast<std::uint16_t>(loops_.size())};
  link.secret = options_.secret;
  link.socket = options_.link_socket;
  link.seed = random_();
  if (!traits().standing) {
    link.gate = {true, TimePoint::min()};
    link.tell_pool = [this](NodeId node, LinkEvent event) {
      control_.Post([this, node, event] { OnLinkEvent(node, event); });
    };
  }
  for (const auto& node : nodes_) node->gate = link.gate;
  loops_.push_back(std::make_unique<LoopLinks>(loop, shared_, link));
  return *loops_.back();
}

Status Pool::Listen() {
  if (traits().inbound) return {};
  return listener_.Listen(options_.node_listen);
}

void Pool::Start() {
  started_ = net::EventLoop::Now();
  for (const auto& links : loops_) {
    links->loop().Post([&links = *links] { links.Start(); });
  }
  if (!traits().inbound) control_.Spawn(AcceptNodes());
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) Apply(NodeId(i), {});
  if (backups_) backups_->Start();
}

// A demand, not a warm-up: that may be over before the instance has dialled us.
void Pool::BeginAdoption(NodeId node) {
  ++at(node).adopting;
  if (!traits().standing) OnLinkEvent(node, LinkEvent::kDemand);
}

void Pool::EndAdoption(NodeId node, bool adopted) {
  if (adopted) Add(stats_.instances_adopted);
  Node& its = at(node);
  its.adopted |= adopted;
  if (--its.adopting == 0 && !its.adopted && shared(node).epoch != 0) TellSince(node);
  if (!traits().standing) OnLinkEvent(node, adopted ? LinkEvent::kAnswered : LinkEvent::kAbandoned);
}

void Pool::Stop(Duration grace) {
  stopping_ = true;
  for (const auto& node : nodes_) {
    node->tick.Cancel();
    for (const auto& control : node->controls) control->Stop();
  }
  if (backups_) backups_->Stop();
  if (!traits().inbound) listener_.Close();
  for (const auto& links : loops_) {
    links->loop().Post([&links = *links] { links.Stop(); });
  }
  platform_.Stop(grace);
}

// --- Events -------------------------------------------------------------------------------------

void Pool::OnLinkEvent(NodeId node, LinkEvent event) {
  if (stopping_) return;
  policy::NodeMachine& machine = at(node).machine;
  switch (event) {
    case LinkEvent::kDemand:
    case LinkEvent::kRepairDemand:
      Add(stats_.demands);
      if (event == LinkEvent::kDemand) {
        at(node).wanted_for = policy::Cause::kServing;
      } else if (machine.queued() == 0) {
        at(node).wanted_for = policy::Cause::kRepair;
      }
      Apply(node, machine.OnDemand(net::EventLoop::Now()));
      break;
    case LinkEvent::kAnswered:
      machine.OnRequestAnswered();
      Apply(node, {});
      break;
    case LinkEvent::kCrossed:
      Add(stats_.requests_crossed);
      break;
    case LinkEvent::kAbandoned:
      machine.OnSentAbandoned();
      Apply(node, {});
      break;
  }
}

void Pool::OnInstanceReady(const platform::Instance& instance) {
  if (stopping_) return;
  Node& node = at(instance.node);
  // Where ends are not told, those before it may be gone.
  if (traits().tells_ends && !node.known.empty()) {
    events_.Add(clock_.WallNow(), EventKind::kSecondInstance, instance.node, instance.id,
                fmt::format("beside {:016x}", node.known.back().id.value()));
  }
  if (node.known.size() == kKnownMax) node.known.erase(node.known.begin());
  node.known.push_back(instance);
  if (!traits().inbound) return;
  auto control = MakeControl(instance.node, instance.id);
  AddControl(instance.node, control);
  ControlLink::Dial(control, instance.address, options_.secret);
}

void Pool::OnInstanceEnded(const platform::Instance& instance, const platform::InstanceEnd& end) {
  Node& node = at(instance.node);
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
  std::erase_if(node.known, [&](const auto& other) { return other.id == instance.id; });
  StopControl(instance.node, instance.id);
  Apply(instance.node, node.machine.OnInstanceGone(instance.id, net::EventLoop::Now()));
}

void Pool::OnSessionEnded(NodeId id, SessionId session, const platform::SessionEnd& end) {
  Node& node = at(id);
  const TimePoint now = net::EventLoop::Now();
  if (const OpenSession* open = FindSession(node, session, end.instance); open != nullptr) {
    if (end.ran) meter_.Add({open->cause, end.duration, options_.node_size, end.cold, end.init});
    node.sessions.erase(node.sessions.begin() + (open - node.sessions.data()));
  }
  ReleasePrimary(id);
  if (end.fault && (!end.ran || !traits().tells_ends)) {
    Add(stats_.invocations_failed);
    events_.Add(clock_.WallNow(), EventKind::kInvocationFailed, id, InstanceId(),
                end.fault->ToString());
    LOG_WARN("invocation failed node={}: {}", id.value(), end.fault->ToString());
  }
  // What the platform took away, and what stood for long, had not failed.
  if (traits().standing && (end.reclaimed || end.duration > kStableAfter))
    node.machine.OnRequestAnswered();
  if (!end.fault) return Apply(id, node.machine.OnInvokeSucceeded(session, end.instance, now));
  Apply(id, end.ran ? node.machine.OnInvokeFailed(session, end.instance, now)
                    : node.machine.OnInvokeRefused(session, now));
}

Pool::OpenSession* Pool::FindSession(Node& node, SessionId session, InstanceId instance) {
  OpenSession* found = nullptr;
  for (OpenSession& open : node.sessions) {
    if (open.id != session) continue;
    if (open.instance == instance) return &open;
    if (found == nullptr && open.instance == InstanceId()) found = &open;
  }
  return found;
}

void Pool::OnPong(NodeId id, const wire::Pong& pong) {
  if (stopping_) return;
  Node& node = at(id);
  const TimePoint now = net::EventLoop::Now();
  const bool was_active = node.machine.state() == policy::NodeMachine::State::kActive;
  node.machine.set_peer_is_current(backups_ && !backups_->IsBehind(id));
  auto actions = node.machine.OnPong(pong.session, pong.instance, now + pong.runs_for, now);
  const bool woke = !was_active && node.machine.state() == policy::NodeMachine::State::kActive;
  if (OpenSession* session = FindSession(node, pong.session, pong.instance); session != nullptr) {
    session->instance = pong.instance;
    if (!session->ponged) session->ponged = now;
    if (woke) wakes_.Observe(std::chrono::duration<double>(now - session->invoked).count());
  }
  const bool fresh = std::any_of(actions.begin(), actions.end(), [](const policy::Action& action) {
    const auto* use = std::get_if<policy::UseInstance>(&action);
    return use != nullptr && use->fresh;
  });
  Apply(id, actions);
  if (fresh && pong.fill.chunks > 0 && node.adopting == 0) TakeStock(id);
  if (node.machine.instance() == pong.instance) {
    shared_[id.value()].bytes_used = pong.fill.bytes_used;
    shared_[id.value()].chunks = pong.fill.chunks;
    SetTick(id);
  }
}

// One that was given up, as another was woken in its place. Some of what it has may be current.
void Pool::TakeStock(NodeId id) {
  LOG_INFO("instance is back that was lost node={} instance={:016x}", id.value(),
           at(id).instance.id.value());
  if (on_failover_) on_failover_(id, Epoch(shared_[id.value()].epoch));
}

void Pool::OnBye(NodeId id, InstanceId instance, SessionId session, const wire::ByeTotals& totals,
                 const wire::NodeFill& fill) {
  if (stopping_) return;
  Node& node = at(id);
  Add(stats_.requests_of_sessions, totals.requests);
  if (session == node.machine.session() && instance == node.machine.instance()) {
    shared_[id.value()].bytes_used = fill.bytes_used;
    shared_[id.value()].chunks = fill.chunks;
  }
  Apply(id, node.machine.OnBye(session, instance, net::EventLoop::Now()));
}

void Pool::OnControlLost(NodeId id, InstanceId instance) {
  if (stopping_) return;
  Node& node = at(id);
  if (!traits().inbound) StopControl(id, instance);
  if (node.machine.instance() != instance) return;
  Apply(id, node.machine.OnLinkLost(net::EventLoop::Now()));
}

void Pool::OnTick(NodeId id) {
  Node& node = at(id);
  const TimePoint now = net::EventLoop::Now();
  node.tick_at = TimePoint::max();
  policy::Actions actions;
  if (now >= node.machine.NextTick()) actions = node.machine.OnTick(now);
  if (warm_up_interval_) {
    const auto due = node.warm_up.Next(*warm_up_interval_);
    if (due && now >= *due) {
      const auto more = node.machine.OnWarmUpDue(now);
      actions.insert(actions.end(), more.begin(), more.end());
      node.warm_up.OnSession(now, random_);
    }
  }
  Apply(id, actions);
}

// --- Actions ------------------------------------------------------------------------------------

void Pool::Apply(NodeId node, const policy::Actions& actions) {
  if (stopping_) return;
  for (const policy::Action& action : actions) {
    std::visit(
        [&](const auto& todo) {
          if constexpr (requires { Do(node, todo); }) Do(node, todo);
        },
        action);
  }
  if (traits().standing) KeepStanding(node);
  WatchSession(node);
  UpdateState(node);
  UpdateGate(node);
  SetTick(node);
}

void Pool::Do(NodeId id, const policy::Invoke& invoke) {
  Node& node = at(id);
  if (invoke.purpose == policy::Purpose::kWarmUp) Add(stats_.warm_ups);
  node.warm_up.OnSession(net::EventLoop::Now(), random_);
  Invoke(id, invoke.session, invoke.purpose, CauseOf(invoke.purpose, node.wanted_for));
}

void Pool::Invoke(NodeId id, SessionId session, policy::Purpose purpose, policy::Cause cause) {
  Node& node = at(id);
  Add(stats_.invocations);
  if (node.sessions.size() == kOpenSessionsMax) node.sessions.erase(node.sessions.begin());
  node.sessions.push_back({session, cause, net::EventLoop::Now()});
  platform::Invocation invocation;
  invocation.session = session;
  invocation.purpose = purpose;
  if (!traits().inbound) {
    invocation.proxy = listener_.address();
    invocation.data_links = static_cast<std::uint16_t>(loops_.size());
  }
  platform_.Invoke(id, invocation);
}

void Pool::Do(NodeId id, const policy::SendPreflight& preflight) {
  Add(stats_.preflights);
  const InstanceId instance = at(id).machine.instance();
  for (const auto& control : at(id).controls) {
    if (control->instance() == instance) control->Ping(preflight.session);
  }
}

void Pool::Do(NodeId id, const policy::FlushRequests&) {
  if (traits().standing) return;
  OnLinks(id, [](Link& link) { link.Grant(); });
  if (at(id).wanted_for_backup) Tell(&Backups::OnPrimaryReady, id);
}

void Pool::Do(NodeId id, const policy::FailWaiters&) {
  if (traits().standing) return;
  if (std::exchange(at(id).wanted_for_backup, false)) Tell(&Backups::OnPrimaryFailed, id);
  Add(stats_.wakes_too_late);
  LOG_WARN_EVERY(std::chrono::seconds(1), "node {} did not wake in time for what waited for it",
                 id.value());
  OnLinks(id, [](Link& link) { link.FailRequests(); });
}

void Pool::Do(NodeId id, const policy::DeclareLost& lost) {
  Node& node = at(id);
  if (warm_up_interval_) warm_up_interval_->OnFoundReclaimed(lost.idle);
  // One that lives, though another was woken in its place, may be invoked again.
  const bool lives = traits().tells_ends &&
                     std::any_of(node.known.begin(), node.known.end(),
                                 [&](const auto& other) { return other.id == lost.instance; });
  if (!lives) StopControl(id, lost.instance);
  if (!traits().tells_ends) {
    Add(stats_.instances_ended);
    Add(stats_.instances_reclaimed);
    events_.Add(clock_.WallNow(), EventKind::kInstanceReclaimed, id, lost.instance,
                fmt::format("found out after {:.3f} s asleep, when another instance answered",
                            std::chrono::duration<double>(lost.idle).count()));
    LOG_INFO("instance was reclaimed node={} instance={:016x}", id.value(), lost.instance.value());
  }
  if (backups_) backups_->OnReclaimed();
  const bool has_peer = node.machine.peer_instance() != InstanceId();
  if (node.instance.id == lost.instance && has_peer) return AwaitFailover(id);
  // Of one whose failover was awaited, its peer.
  const bool was_awaited = node.instance.id == InstanceId() && shared_[id.value()].epoch != 0;
  if (node.instance.id == lost.instance || (was_awaited && !has_peer)) Lose(id);
}

void Pool::Lose(NodeId id) {
  NodeShared& shared = shared_[id.value()];
  const Epoch lost(shared.epoch.exchange(0));
  shared.copied = 0;
  shared.bytes_used = 0;
  shared.chunks = 0;
  const InstanceId instance = at(id).instance.id;
  {
    const std::scoped_lock lock(mutex_);
    at(id).instance = {};
  }
  Announce(id, Epoch(), {}, false);
  if (lost != Epoch() && on_instance_lost_) on_instance_lost_(id, lost, instance);
}

void Pool::Do(NodeId id, const policy::UseInstance& use) {
  Node& node = at(id);
  NodeShared& shared = shared_[id.value()];
  if (!use.fresh && node.instance.id == use.instance) {
    if (warm_up_interval_) warm_up_interval_->OnFoundAlive(use.idle);
    return;
  }
  const bool fails_over = !use.fresh && shared.epoch != 0;
  if (!fails_over && shared.epoch != 0) Lose(id);
  platform::Instance instance{id, use.instance, {}, 0};
  for (const platform::Instance& known : node.known) {
    if (known.id == use.instance) instance = known;
  }
  {
    const std::scoped_lock lock(mutex_);
    node.instance = instance;
  }
  platform_.NotePrimary(id, use.instance);
  const Epoch epoch(++node.last_epoch);
  if (fails_over) ++shared.copied;
  shared.bytes_limit = traits().node_memory_bytes;
  shared.epoch.store(epoch.value(), std::memory_order_release);
  if (!fails_over) Add(stats_.instances_started);
  LOG_DEBUG("node is up node={} instance={:016x} address={}", id.value(), use.instance.value(),
            instance.address.ToString());
  events_.Add(clock_.WallNow(), fails_over ? EventKind::kFailedOver : EventKind::kInstanceStarted,
              id, use.instance, instance.address.host.empty() ? "" : instance.address.ToString());
  if (node.adopting == 0 && !fails_over) TellSince(id);
  Announce(id, epoch, instance, fails_over);
  if (backups_) backups_->OnPrimaryChanged(id);
  if (fails_over) FailOver(id, epoch);
}

// Before requests may be sent to it. If the message is lost with the link, that stays unknown.
void Pool::TellSince(NodeId id) {
  if (!newest_version_) return;
  for (const auto& control : at(id).controls) {
    if (control->instance() == at(id).instance.id)
      (void)control->Send(wire::EncodeSince(newest_version_()), {});
  }
}

void Pool::KeepStanding(NodeId id) {
  policy::NodeMachine& machine = at(id).machine;
  if (machine.state() != policy::NodeMachine::State::kAsleep || machine.queued() > 0) return;
  for (const policy::Action& action : machine.OnDemand(net::EventLoop::Now())) {
    if (const auto* invoke = std::get_if<policy::Invoke>(&action)) Do(id, *invoke);
  }
}

void Pool::UpdateState(NodeId id) {
  const policy::NodeMachine& machine = at(id).machine;
  const bool standing = traits().standing;
  NodeState state = standing ? NodeState::kDown : NodeState::kAsleep;
  switch (machine.state()) {
    case policy::NodeMachine::State::kActive:
      state = NodeState::kActive;
      break;
    case policy::NodeMachine::State::kWaking:
      state = standing || machine.instance() == InstanceId() ? NodeState::kStarting
                                                             : NodeState::kWaking;
      break;
    case policy::NodeMachine::State::kAsleep:
      if (machine.failing()) state = NodeState::kDown;
      break;
  }
  shared_[id.value()].state = state;
}

void Pool::UpdateGate(NodeId id) {
  Node& node = at(id);
  if (traits().standing) return;
  const Gate gate{!node.machine.failing(), node.machine.SendsUntil()};
  if (gate == node.gate) return;
  node.gate = gate;
  OnLinks(id, [gate](Link& link) { link.SetGate(gate); });
}

void Pool::SetTick(NodeId id) {
  Node& node = at(id);
  TimePoint next = node.machine.NextTick();
  if (warm_up_interval_ && node.machine.state() == policy::NodeMachine::State::kAsleep) {
    node.warm_up.set_holds_data(shared_[id.value()].chunks > 0);
    if (const auto due = node.warm_up.Next(*warm_up_interval_)) next = std::min(next, *due);
  }
  if (next == node.tick_at) return;
  node.tick_at = next;
  if (next == TimePoint::max()) {
    node.tick.Cancel();
  } else {
    node.tick.Start(std::max(next - net::EventLoop::Now(), Duration(0)),
                    [this, id] { OnTick(id); });
  }
}

void Pool::OnLinks(NodeId node, const std::function<void(Link&)>& call) {
  for (const auto& links : loops_) {
    links->loop().Post([&link = links->at(node), call] { call(link); });
  }
}

void Pool::Announce(NodeId node, Epoch epoch, const platform::Instance& instance, bool copy) {
  OnLinks(node, [epoch, id = instance.id, address = instance.address, copy](Link& link) {
    link.SetInstance(epoch, id, address, copy);
  });
}

// --- What others may know -----------------------------------------------------------------------

policy::Meter Pool::Metered() const {
  policy::Meter meter = meter_;
  const TimePoint now = net::EventLoop::Now();
  for (const auto& node : nodes_) {
    for (const OpenSession& session : node->sessions)
      if (session.ponged) meter.Add({session.cause, now - *session.ponged, options_.node_size});
  }
  meter.AddPoolTime(nodes_.size(), options_.node_size, uptime(), platform_.Count().lived);
  return meter;
}

std::optional<Duration> Pool::warm_up_interval() const {
  if (!warm_up_interval_) return std::nullopt;
  return warm_up_interval_->Get();
}

Status Pool::CheckNode(NodeId node) const {
  if (node.value() < nodes_.size()) return {};
  return Fail(ErrorCode::kNotFound, fmt::format("there is no node {}; nodes are 0 to {}",
                                                node.value(), nodes_.size() - 1));
}

Status Pool::Reclaim(NodeId node) {
  if (auto known = CheckNode(node); !known) return known;
  return platform_.Reclaim(node);
}

Status Pool::RepeatInvocation(NodeId id) {
  if (auto known = CheckNode(id); !known) return known;
  const Node& node = at(id);
  const SessionId session = node.machine.session();
  const auto open = std::find_if(node.sessions.begin(), node.sessions.end(),
                                 [&](const OpenSession& other) { return other.id == session; });
  if (open == node.sessions.end()) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("node {} is in no session; ask while it serves", id.value()));
  }
  Invoke(id, session, policy::Purpose::kRequest, open->cause);
  return {};
}

std::size_t Pool::active() const {
  const bool standing = traits().standing;
  return static_cast<std::size_t>(
      std::count_if(shared_.begin(), shared_.end(), [standing](const NodeShared& node) {
        return standing ? node.epoch.load(std::memory_order_relaxed) != 0
                        : node.state.load(std::memory_order_relaxed) != NodeState::kDown;
      }));
}

std::vector<NodeView> Pool::View() const {
  std::vector<NodeView> rows;
  const std::scoped_lock lock(mutex_);
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    const platform::Instance& instance = nodes_[i]->instance;
    const NodeShared& shared = shared_[i];
    rows.push_back({NodeId(i), shared.state, instance.id, instance.pid,
                    instance.address.host.empty() ? "" : instance.address.ToString(),
                    shared.StoredBytes(), shared.bytes_limit, shared.chunks, shared.bytes_lent});
  }
  return rows;
}

}  // namespace infinicache::pool
