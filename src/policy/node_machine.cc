#include "policy/node_machine.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace infinicache::policy {
namespace {

Duration IdleFor(TimePoint since, TimePoint now) {
  return since == TimePoint::max() ? Duration(0) : now - since;
}

}  // namespace

NodeMachine::NodeMachine(Options options, std::uint64_t seed)
    : options_(options),
      random_(seed),
      // Far apart for two runs of a proxy, and never 0 by counting.
      last_session_(random_() >> 1),
      backoff_(options.backoff_initial, options.backoff_max),
      preflight_(options.preflight) {
  CHECK(options_.wake_deadline > Duration(0) && options_.session_maximum > Duration(0) &&
        options_.session_grace > Duration(0) && options_.backoff_initial > Duration(0) &&
        options_.look_patience > Duration(0));
  CHECK(options_.failures_max > 0);
}

NodeMachine::Session NodeMachine::NewSession(TimePoint now) {
  return {SessionId(++last_session_), now + options_.session_maximum + options_.session_grace};
}

void NodeMachine::TryInvoke(Purpose purpose, TimePoint now, Actions& actions) {
  CHECK(state_ == State::kAsleep && !open(primary_));
  if (peer_pending()) {
    if (overdue_) FailAll(actions);
  } else if (now < returns_by_) {
    return;  // a tick follows
  } else if (now >= retry_at_) {
    returning_ = SessionId();
    primary_ = NewSession(now);
    primary_.beside_peer = open(peer_) || unseen_beside_peer_;
    state_ = State::kWaking;
    actions.emplace_back(Invoke{primary_.id, purpose});
  } else if (failing()) {
    FailAll(actions);
  } else if (queued_ > 0) {
    actions.emplace_back(BackOff{retry_at_});
  }
}

void NodeMachine::Flush(Actions& actions) {
  wait_deadline_ = TimePoint::max();
  if (queued_ == 0) return;
  sent_ += std::exchange(queued_, 0);
  actions.emplace_back(FlushRequests{});
}

void NodeMachine::FailAll(Actions& actions) {
  wait_deadline_ = TimePoint::max();
  if (std::exchange(queued_, 0) > 0) actions.emplace_back(FailWaiters{});
}

void NodeMachine::Requeue(TimePoint now, Actions& actions) {
  if (sent_ == 0) return;
  if (queued_ == 0) wait_deadline_ = now + options_.wake_deadline;
  queued_ += std::exchange(sent_, 0);
  actions.emplace_back(RequeueUnanswered{});
}

void NodeMachine::BackOffAfterFailure(TimePoint now) {
  retry_at_ = now + backoff_.Next(random_);
}

Actions NodeMachine::OnDemand(TimePoint now) {
  Actions actions;
  if (++queued_ == 1) wait_deadline_ = now + options_.wake_deadline;
  if (state_ == State::kAsleep) {
    TryInvoke(Purpose::kRequest, now, actions);
  } else if (overdue_) {
    FailAll(actions);
  } else if (state_ == State::kActive && !preflight_.Needed(now)) {
    Flush(actions);
  } else if (state_ == State::kActive && preflight_sent_ == TimePoint::max()) {
    preflight_sent_ = now;
    actions.emplace_back(SendPreflight{primary_.id});
  }
  return actions;
}

Actions NodeMachine::OnWarmUpDue(TimePoint now) {
  Actions actions;
  if (state_ == State::kAsleep && now >= retry_at_ && !peer_pending())
    TryInvoke(Purpose::kWarmUp, now, actions);
  return actions;
}

Actions NodeMachine::OnPeerDemand(TimePoint now) {
  if (state_ != State::kActive || peer_pending()) return {};
  if (open(peer_)) return {PeerReady{peer_instance_, false}};
  peer_ = NewSession(now);
  return {Invoke{peer_.id, Purpose::kBackup}};
}

bool NodeMachine::IsOthers(SessionId session, InstanceId instance) const {
  if (session == SessionId() || instance == InstanceId()) return false;
  if (session == peer_.id && peer_.ready) return instance != peer_instance_;
  const bool primarys = (session == primary_.id && primary_.ready) || session == returning_;
  return primarys && instance != instance_;
}

Actions NodeMachine::OnInvokeSucceeded(SessionId session, InstanceId instance, TimePoint now) {
  if (IsOthers(session, instance)) return {};
  return EndSession(session, End::kInOrder, now);
}

Actions NodeMachine::OnInvokeFailed(SessionId session, InstanceId instance, TimePoint now) {
  if (IsOthers(session, instance)) return {};
  return EndSession(session, End::kFailed, now);
}

Actions NodeMachine::OnInvokeRefused(SessionId session, TimePoint now) {
  // Who has answered runs: what could not start was to repeat it.
  const bool answered =
      (session == primary_.id && primary_.ready) || (session == peer_.id && peer_.ready);
  if (answered) return {};
  return EndSession(session, End::kFailed, now);
}

Actions NodeMachine::OnBye(SessionId session, InstanceId instance, TimePoint now) {
  if (IsOthers(session, instance)) return {};
  const bool returns =
      session != SessionId() && session == primary_.id && options_.return_grace > Duration(0);
  if (returns) returns_by_ = now + options_.return_grace;
  Actions actions = EndSession(session, End::kInOrder, now);
  if (returns) returning_ = session;
  return actions;
}

Actions NodeMachine::OnInstanceGone(InstanceId instance, TimePoint now) {
  Actions actions;
  if (instance == InstanceId()) return actions;
  if (instance == instance_) {
    if (state_ == State::kActive) EndPrimary(End::kFailed, now, actions);
    actions.emplace_back(DeclareLost{instance_, IdleFor(idle_since_, now)});
    instance_ = InstanceId();
    idle_since_ = TimePoint::max();
  } else if (instance == peer_instance_) {
    actions.emplace_back(DeclareLost{peer_instance_, IdleFor(peer_idle_since_, now)});
    peer_instance_ = InstanceId();
    peer_idle_since_ = TimePoint::max();
  }
  return actions;
}

Actions NodeMachine::EndSession(SessionId session, End end, TimePoint now) {
  Actions actions;
  if (session == SessionId()) return actions;
  if (session == returning_) {
    returning_ = SessionId();
    returns_by_ = TimePoint::min();
    if (state_ == State::kAsleep && queued_ > 0) TryInvoke(Purpose::kRequest, now, actions);
    return actions;
  }
  if (session == primary_.id) EndPrimary(end, now, actions);
  if (session == peer_.id) EndPeer(now, actions);
  return actions;
}

void NodeMachine::EndPrimary(End end, TimePoint now, Actions& actions) {
  Requeue(now, actions);
  // A BYE that crosses requests is in order; a node that never answers before its BYE is not.
  const bool fruitless = queued_ > 0 && !primary_.answered;
  fruitless_ = fruitless ? fruitless_ + 1 : 0;
  const bool failed = end == End::kFailed || !primary_.ready || fruitless_ > 1;
  if (primary_.ready) idle_since_ = now;
  unseen_beside_peer_ = primary_.beside_peer && !primary_.ready;
  primary_ = {};
  look_until_ = TimePoint::max();
  state_ = State::kAsleep;
  overdue_ = false;
  preflight_sent_ = TimePoint::max();
  preflight_.OnSessionEnded();
  if (failed) {
    BackOffAfterFailure(now);
  } else if (!fruitless) {
    backoff_.Reset();
  }
  if (queued_ > 0) TryInvoke(Purpose::kRequest, now, actions);
}

void NodeMachine::EndPeer(TimePoint now, Actions& actions) {
  if (peer_.ready) peer_idle_since_ = now;
  if (peer_pending()) overdue_ = overdue_ && state_ != State::kAsleep;
  peer_ = {};
  actions.emplace_back(PeerGone{});
  if (state_ == State::kAsleep && queued_ > 0) TryInvoke(Purpose::kRequest, now, actions);
}

Actions NodeMachine::OnPong(SessionId session, InstanceId instance, TimePoint runs_until,
                            TimePoint now) {
  Actions actions;
  if (session == SessionId() || instance == InstanceId()) return actions;
  if (session == primary_.id) OnPrimaryPong(instance, runs_until, now, actions);
  if (session == peer_.id && !peer_.ready) OnPeerPong(instance, runs_until, now, actions);
  return actions;
}

void NodeMachine::OnPrimaryPong(InstanceId instance, TimePoint runs_until, TimePoint now,
                                Actions& actions) {
  // Of two instances that have one invocation, the one that answered first has the session.
  if (primary_.ready && instance != instance_) return;
  if (state_ != State::kActive) {
    if (instance == peer_instance_ && LookForPrimary(runs_until, now, actions)) return;
    // The peer was in session: that it did not answer says nothing of it.
    if (IsNew(instance) && peer_instance_ != InstanceId() && primary_.beside_peer)
      return TakeOver(instance, now, actions);
    AdoptPrimary(instance, now, actions);
    state_ = State::kActive;
  }
  if (preflight_sent_ != TimePoint::max()) {
    preflight_.ObserveRoundTrip(now - std::exchange(preflight_sent_, TimePoint::max()));
  }
  preflight_.OnPromise(runs_until);
  overdue_ = false;
  Flush(actions);
}

void NodeMachine::OnPeerPong(InstanceId instance, TimePoint runs_until, TimePoint now,
                             Actions& actions) {
  if (instance != instance_) {
    peer_runs_until_ = runs_until;
    AdoptPeer(instance, now, actions);
    return;
  }
  // An instance has one session at a time: the primary's ended, though its BYE did not arrive yet,
  // and the platform woke it again. Nothing was invoked meanwhile.
  if (open(primary_)) EndPrimary(End::kInOrder, now, actions);
  primary_ = std::exchange(peer_, {});
  state_ = State::kWaking;
  actions.emplace_back(PeerGone{});
  OnPrimaryPong(instance, runs_until, now, actions);
}

bool NodeMachine::LookForPrimary(TimePoint runs_until, TimePoint now, Actions& actions) {
  if (peer_is_current_ || instance_ == InstanceId() || looks_ == kLooksMax) return false;
  ++looks_;
  if (open(peer_)) EndPeer(now, actions);  // one session at a time: its BYE is under way
  peer_ = std::exchange(primary_, NewSession(now));
  peer_.ready = true;
  peer_runs_until_ = runs_until;
  primary_.beside_peer = true;
  look_until_ = now + options_.look_patience;
  overdue_ = false;
  const Duration idle = IdleFor(std::exchange(peer_idle_since_, TimePoint::max()), now);
  actions.emplace_back(PeerReady{peer_instance_, false, idle});
  actions.emplace_back(Invoke{primary_.id, queued_ > 0 ? Purpose::kRequest : Purpose::kWarmUp});
  return true;
}

void NodeMachine::TakeOver(InstanceId newcomer, TimePoint now, Actions& actions) {
  const bool primary_is_gone = newcomer != InstanceId() && instance_ != InstanceId();
  if (primary_is_gone) actions.emplace_back(DeclareLost{instance_, IdleFor(idle_since_, now)});
  looks_ = 0;
  look_until_ = TimePoint::max();
  overdue_ = false;
  std::swap(primary_, peer_);
  std::swap(instance_, peer_instance_);
  std::swap(idle_since_, peer_idle_since_);
  if (open(primary_)) actions.emplace_back(PeerGone{});
  const Duration idle = IdleFor(std::exchange(idle_since_, TimePoint::max()), now);
  actions.emplace_back(UseInstance{instance_, idle, false});
  if (newcomer != InstanceId()) {
    peer_.ready = true;
    peer_instance_ = newcomer;
    peer_idle_since_ = TimePoint::max();
    actions.emplace_back(PeerReady{newcomer, true});
  }
  GoOnAsPrimary(now, actions);
}

// The session in which the peer waited may be at its end, or over.
void NodeMachine::GoOnAsPrimary(TimePoint now, Actions& actions) {
  preflight_sent_ = TimePoint::max();
  state_ = open(primary_) ? State::kActive : State::kAsleep;
  if (state_ == State::kActive) preflight_.OnPromise(peer_runs_until_);
  if (queued_ == 0) return;
  if (state_ == State::kAsleep) {
    TryInvoke(Purpose::kRequest, now, actions);
  } else if (!preflight_.Needed(now)) {
    Flush(actions);
  } else {
    preflight_sent_ = now;
    actions.emplace_back(SendPreflight{primary_.id});
  }
}

void NodeMachine::AdoptPrimary(InstanceId instance, TimePoint now, Actions& actions) {
  looks_ = 0;
  look_until_ = TimePoint::max();
  primary_.ready = true;
  bool fresh = false;
  if (instance != instance_ && instance == peer_instance_) {
    if (open(peer_)) EndPeer(now, actions);  // one session at a time: its BYE is under way
    std::swap(instance_, peer_instance_);
    std::swap(idle_since_, peer_idle_since_);
  } else if (instance != instance_) {
    fresh = true;
    if (instance_ != InstanceId()) {
      actions.emplace_back(DeclareLost{instance_, IdleFor(idle_since_, now)});
    }
    if (peer_instance_ != InstanceId()) {
      actions.emplace_back(DeclareLost{peer_instance_, IdleFor(peer_idle_since_, now)});
      peer_instance_ = InstanceId();
    }
    instance_ = instance;
    idle_since_ = TimePoint::max();
  }
  const Duration idle = IdleFor(std::exchange(idle_since_, TimePoint::max()), now);
  actions.emplace_back(UseInstance{instance, idle, fresh});
}

void NodeMachine::AdoptPeer(InstanceId instance, TimePoint now, Actions& actions) {
  peer_.ready = true;
  const bool fresh = instance != peer_instance_;
  if (fresh && peer_instance_ != InstanceId()) {
    actions.emplace_back(DeclareLost{peer_instance_, IdleFor(peer_idle_since_, now)});
  }
  const Duration idle = IdleFor(std::exchange(peer_idle_since_, TimePoint::max()), now);
  peer_instance_ = instance;
  actions.emplace_back(PeerReady{instance, fresh, fresh ? Duration(0) : idle});
  if (state_ != State::kAsleep) return;
  overdue_ = false;
  if (queued_ > 0) TryInvoke(Purpose::kRequest, now, actions);
}

Actions NodeMachine::OnLinkLost(TimePoint now) {
  Actions actions;
  if (state_ != State::kActive) return actions;
  // The session runs on, and the node will dial again or be dialled: a PONG tells who it is.
  state_ = State::kWaking;
  preflight_sent_ = TimePoint::max();
  preflight_.OnSessionEnded();
  Requeue(now, actions);
  return actions;
}

void NodeMachine::OnRequestAnswered() {
  // Shows a node that works, also where the end of its session overtook the answer.
  primary_.answered = true;
  overdue_ = false;
  fruitless_ = 0;
  backoff_.Reset();
  OnSentAbandoned();
}

void NodeMachine::OnSentAbandoned() {
  if (sent_ > 0) {
    --sent_;
  } else {
    OnQueuedAbandoned();  // re-queued since
  }
}

void NodeMachine::OnQueuedAbandoned() {
  if (queued_ > 0) --queued_;
  if (queued_ == 0) wait_deadline_ = TimePoint::max();
}

Actions NodeMachine::OnTick(TimePoint now) {
  Actions actions;
  if (open(peer_) && now >= peer_.deadline) EndPeer(now, actions);
  if (now >= look_until_) {
    look_until_ = TimePoint::max();
    // A peer whose session is over could not serve what waits either.
    if (open(peer_) && peer_instance_ != InstanceId()) TakeOver(InstanceId(), now, actions);
  }
  if (now >= wait_deadline_) {
    overdue_ = state_ != State::kAsleep || peer_pending();
    FailAll(actions);
  }
  if (open(primary_) && now >= primary_.deadline) {
    EndPrimary(End::kFailed, now, actions);
  } else if (state_ == State::kAsleep && queued_ > 0 && now >= std::max(retry_at_, returns_by_)) {
    TryInvoke(Purpose::kRequest, now, actions);
  }
  return actions;
}

TimePoint NodeMachine::NextTick() const {
  TimePoint next = std::min({wait_deadline_, look_until_, primary_.deadline, peer_.deadline});
  if (state_ == State::kAsleep && queued_ > 0 && !peer_pending())
    next = std::min(next, std::max(retry_at_, returns_by_));
  return next;
}

}  // namespace infinicache::policy
