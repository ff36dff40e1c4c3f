// The pool's part in backups, and in what follows when a peer takes over.
#include <algorithm>

#include "base/log.h"
#include "pool/pool.h"

namespace infinicache::pool {

void Pool::Tell(void (Backups::*event)(NodeId), NodeId node) {
  control_.Post([this, event, node] {
    if (!stopping_ && backups_) ((*backups_).*event)(node);
  });
}

void Pool::Do(NodeId id, const policy::PeerReady& ready) {
  if (ready.fresh) {
    Add(stats_.instances_started);
    events_.Add(clock_.WallNow(), EventKind::kInstanceStarted, id, ready.instance, "as a peer");
  } else if (warm_up_interval_) {
    warm_up_interval_->OnFoundAlive(ready.idle);
  }
  Tell(&Backups::OnPeerReady, id);
}

void Pool::Do(NodeId id, const policy::PeerGone&) {
  Tell(&Backups::OnPeerGone, id);
}

void Pool::WatchSession(NodeId id) {
  Node& node = at(id);
  const SessionId before = std::exchange(node.session, node.machine.session());
  if (before != SessionId() && before != node.session) Tell(&Backups::OnPrimaryEnded, id);
}

void Pool::WantPrimary(NodeId id) {
  Node& node = at(id);
  if (node.machine.queued() == 0) node.wanted_for = policy::Cause::kBackup;
  node.wanted_for_backup = true;
  Apply(id, node.machine.OnDemand(net::EventLoop::Now()));
}

void Pool::PrimaryWanted(NodeId id) {
  Node& node = at(id);
  if (std::exchange(node.wanted_for_backup, false)) node.machine.OnSentAbandoned();
}

bool Pool::WantPeer(NodeId id) {
  const policy::Actions actions = at(id).machine.OnPeerDemand(net::EventLoop::Now());
  if (!actions.empty()) at(id).peer_session = at(id).machine.peer_session();
  Apply(id, actions);
  return !actions.empty();
}

void Pool::RoundOver(NodeId id) {
  at(id).round_over = true;
  ReleasePrimary(id);
}

void Pool::ReleasePrimary(NodeId id) {
  Node& node = at(id);
  const bool peer_runs =
      std::any_of(node.sessions.begin(), node.sessions.end(),
                  [&](const OpenSession& session) { return session.id == node.peer_session; });
  if (!node.round_over || peer_runs) return;
  node.round_over = false;
  wire::FrameHeader over;
  over.type = wire::FrameType::kSyncClose;
  over.request = node.machine.session().value();
  for (const auto& control : node.controls)
    if (control->instance() == node.machine.instance()) (void)control->Send(over, {});
}

bool Pool::Command(NodeId id, wire::SyncCommand command) {
  Node& node = at(id);
  const policy::NodeMachine& machine = node.machine;
  if (command.is_source && machine.state() != policy::NodeMachine::State::kActive) return false;
  const InstanceId receiver = command.is_source ? machine.instance() : machine.peer_instance();
  command.other = command.is_source ? machine.peer_instance() : machine.instance();
  command.session = command.is_source ? machine.session() : machine.peer_session();
  if (command.by_relay) {
    command.address = listener_.address().ToString();
  } else if (command.is_source) {
    for (const platform::Instance& known : node.known)
      if (known.id == command.other) command.address = known.address.ToString();
  }
  return std::any_of(node.controls.begin(), node.controls.end(), [&](const auto& control) {
    return control->instance() == receiver &&
           control->Send(wire::EncodeSync(command), wire::EncodeSyncTarget(command));
  });
}

void Pool::OnSyncReport(NodeId id, InstanceId instance, const wire::SyncReport& report) {
  if (stopping_ || !backups_ || at(id).machine.instance() != instance) return;
  backups_->OnReport(id, report);
}

// Chunks are neither readable nor lost until an instance answers: requests wait for it.
void Pool::AwaitFailover(NodeId id) {
  {
    const std::scoped_lock lock(mutex_);
    at(id).instance = {};
  }
  Announce(id, Epoch(shared_[id.value()].epoch), {}, true);
  // At once, so that what the peer lacks is repaired soon.
  control_.Post([this, id] {
    if (!stopping_) Apply(id, at(id).machine.OnWarmUpDue(net::EventLoop::Now()));
  });
}

void Pool::FailOver(NodeId id, Epoch epoch) {
  Add(stats_.failovers);
  LOG_INFO("peer took over node={} instance={:016x}", id.value(), at(id).instance.id.value());
  if (on_failover_) {
    on_failover_(id, epoch);
  } else {
    EndFailover(id, epoch);
  }
}

void Pool::TellSince(NodeId node, Epoch epoch) {
  if (!stopping_ && shared_[node.value()].epoch == epoch.value()) TellSince(node);
}

bool Pool::EndFailover(NodeId node, Epoch epoch) {
  NodeShared& shared = shared_[node.value()];
  if (shared.epoch != epoch.value()) return false;
  shared.copied = 0;
  return true;
}

}  // namespace infinicache::pool
