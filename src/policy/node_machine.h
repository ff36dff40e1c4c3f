// The proxy's view of one node: whether its instance sleeps, wakes or is active, and what follows
// from each event.
//
//            Invoke               PONG(session, instance)
//   asleep ──────────▶ waking ───────────────────────▶ active ── BYE, end of invocation ──▶ asleep
//     ▲                  │ ▲            link lost         │
//     │                  │ └──────────────────────────────┘
//     └──────────────────┘ end or failure of the invocation, or its longest time has passed
//
// An event comes in, the state changes, and the actions that the owner must carry out, in their
// order, come out. What holds by construction:
//
//   * One session at a time. A session ends by its BYE, by the platform's word that the invocation
//     returned or failed, or when the platform's longest session has passed; until then nothing
//     invokes the node again, neither a late PONG, nor a silent preflight, nor a lost link. Only
//     OnPeerDemand, for a backup, and a look for the primary, below, add a second session, also one
//     at most; until a backup's is answered, a primary that fell asleep meanwhile is not invoked,
//     since it may be the one that answers.
//   * Every session has an id that this machine made. A message with another id is stale: it
//     changes nothing.
//   * The first PONG of a session makes it active, on whatever link it comes. A platform may run an
//     invocation twice, in two instances at a time: the one that answered first has the session,
//     and nothing that is heard of the other one ends it.
//   * An instance that answers is known or not. Known ones (primary and peer) have the data that
//     they had. An unknown one is new and empty, and then those that were idle are lost, since the
//     platform would have woken them; before that, nothing is declared lost. (One exception, on
//     the safe side: a session may end before its PONG arrives and leave an instance that nobody
//     knows. When that answers, others are declared lost that live; they count as new later.)
//   * Of two that are idle the platform may wake the peer. One that is current takes over. One that
//     is behind waits in its session while the node is invoked once more: that wakes the primary,
//     if it lives, which goes on. A new instance means that it is gone, and the peer takes over;
//     so it does if nobody comes within `look_patience`, or it was the peer again, kLooksMax times.
//     A peer in session also takes over from a primary that is found gone in any other way.
//   * Requests wait for a node at most `wake_deadline`: then they fail (to the reader an erasure),
//     and so do later ones at once until the node shows itself. The session goes on.
//   * Failed invocations, and sessions that end in a row with nothing answered, back off; after
//     `failures_max` in a row requests do not wait for the next try.
//
// Requests are counted, not held: `queued` ones wait for the owner's FlushRequests, `sent` ones for
// an answer. The owner keeps the deadline of each request itself, which bounds how often one may
// be re-queued, and reports every one that is over.
//
// The owner calls OnTick at NextTick(), which every event may change. Pure; O(1) per event; not
// thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/random.h"
#include "policy/backoff.h"
#include "policy/preflight.h"

namespace infinicache::policy {

enum class Purpose { kRequest, kWarmUp, kBackup };

// Invoke the node, with this id in the payload.
struct Invoke {
  SessionId session;
  Purpose purpose = Purpose::kRequest;
  friend bool operator==(const Invoke&, const Invoke&) = default;
};
// Send PING; the PONG must carry `session`.
struct SendPreflight {
  SessionId session;
  friend bool operator==(const SendPreflight&, const SendPreflight&) = default;
};
// Send all that is queued.
struct FlushRequests {
  friend bool operator==(const FlushRequests&, const FlushRequests&) = default;
};
// What was sent and is not answered will not be: queue it again.
struct RequeueUnanswered {
  friend bool operator==(const RequeueUnanswered&, const RequeueUnanswered&) = default;
};
// The queued requests fail: the node is an erasure to them.
struct FailWaiters {
  friend bool operator==(const FailWaiters&, const FailWaiters&) = default;
};
// Nothing invokes the node before `until`; what is queued waits.
struct BackOff {
  TimePoint until;
  friend bool operator==(const BackOff&, const BackOff&) = default;
};
// The instance and all its chunks are gone; it was idle for `idle` when this was found out.
struct DeclareLost {
  InstanceId instance;
  Duration idle{0};
  friend bool operator==(const DeclareLost&, const DeclareLost&) = default;
};
// A session is active: chunks are read from, and written to, this instance from now on. `idle` is
// the time since its last session, 0 if there was none or it only lost its link. `fresh`: it holds
// nothing that this proxy stored.
struct UseInstance {
  InstanceId instance;
  Duration idle{0};
  bool fresh = false;
  friend bool operator==(const UseInstance&, const UseInstance&) = default;
};
// The peer's session is active; it may receive the backup. `fresh`: it was not known before.
// `idle`: as in UseInstance.
struct PeerReady {
  InstanceId instance;
  bool fresh = false;
  Duration idle{0};
  friend bool operator==(const PeerReady&, const PeerReady&) = default;
};
// The peer's session is over; or it is the primary's now, since the platform woke the primary
// instead, or the peer took over.
struct PeerGone {
  friend bool operator==(const PeerGone&, const PeerGone&) = default;
};

using Action = std::variant<Invoke, SendPreflight, FlushRequests, RequeueUnanswered, FailWaiters,
                            BackOff, DeclareLost, UseInstance, PeerReady, PeerGone>;
using Actions = std::vector<Action>;

class NodeMachine {
 public:
  enum class State { kAsleep, kWaking, kActive };

  struct Options {
    Preflight::Options preflight;
    // From the first waiting request to FailWaiters.
    Duration wake_deadline = std::chrono::seconds(5);
    // The platform's longest session, from the invocation: start of the instance included.
    Duration session_maximum = std::chrono::minutes(15);
    // After that, for the platform's word of the end to arrive.
    Duration session_grace = std::chrono::seconds(10);
    // From a BYE to the platform's word that the invocation returned: until then another one could
    // find the instance busy, and start a second.
    Duration return_grace{0};
    // From a look for the primary to its PONG, while a peer that is behind could take over.
    Duration look_patience = std::chrono::seconds(2);
    Duration backoff_initial = std::chrono::milliseconds(50);
    Duration backoff_max = std::chrono::seconds(30);
    int failures_max = 5;
  };

  // Invocations in a row that may wake the peer while the primary is looked for.
  static constexpr int kLooksMax = 3;

  // `seed` makes the session ids and the jitter; two machines, and two runs of a proxy, need
  // different ones. REQUIRES: every duration is positive.
  NodeMachine(Options options, std::uint64_t seed);

  // A request wants the node.
  Actions OnDemand(TimePoint now);
  // A warm-up is due. Nothing if a session is open or the node is backed off.
  Actions OnWarmUpDue(TimePoint now);
  // A backup wants a second instance: PeerReady follows, at once if it is in session. Nothing
  // unless the primary is active, and nothing if one is on its way.
  Actions OnPeerDemand(TimePoint now);
  // Whether the peer has all that the primary has, as far as the owner knows; false at first. To be
  // told before a PONG.
  void set_peer_is_current(bool current) { peer_is_current_ = current; }
  // The platform says that the session's invocation returned, or that it crashed, in `instance`;
  // 0 if it does not know.
  Actions OnInvokeSucceeded(SessionId session, InstanceId instance, TimePoint now);
  Actions OnInvokeFailed(SessionId session, InstanceId instance, TimePoint now);
  // The platform says that no instance could have the session.
  Actions OnInvokeRefused(SessionId session, TimePoint now);
  // `runs_until`: the arrival's time plus what the node promised to run.
  Actions OnPong(SessionId session, InstanceId instance, TimePoint runs_until, TimePoint now);
  // The last message of `instance` in a session.
  Actions OnBye(SessionId session, InstanceId instance, TimePoint now);
  // The platform says that the instance and its memory are gone, after the end of its session.
  Actions OnInstanceGone(InstanceId instance, TimePoint now);
  // The link to the primary closed.
  Actions OnLinkLost(TimePoint now);
  // A sent request was answered; also one that was re-queued meanwhile.
  void OnRequestAnswered();
  // The owner gave up a request that was sent, or one that was still queued.
  void OnSentAbandoned();
  void OnQueuedAbandoned();
  Actions OnTick(TimePoint now);

  // Until when requests may be sent without a demand: min: not now; max: until the session ends.
  TimePoint SendsUntil() const {
    return state_ == State::kActive ? preflight_.NotNeededUntil() : TimePoint::min();
  }
  // Requests do not wait for the node: it failed too often in a row.
  bool failing() const { return backoff_.failures() >= options_.failures_max; }

  // TimePoint::max(): no tick is needed.
  TimePoint NextTick() const;

  State state() const { return state_; }
  // The instance that holds what was written last; 0 before the first PONG.
  InstanceId instance() const { return instance_; }
  InstanceId peer_instance() const { return peer_instance_; }
  // Of the open sessions; 0 if there is none.
  SessionId session() const { return primary_.id; }
  SessionId peer_session() const { return peer_.id; }
  std::size_t queued() const { return queued_; }
  std::size_t sent() const { return sent_; }
  // In a row.
  int failures() const { return backoff_.failures(); }

 private:
  struct Session {
    SessionId id;
    TimePoint deadline = TimePoint::max();
    bool ready = false;     // its PONG came
    bool answered = false;  // a request was answered in it
    // The peer was in session when this one was invoked, or one before it whose PONG never came.
    bool beside_peer = false;
  };
  enum class End { kInOrder, kFailed };

  bool open(const Session& session) const { return session.id != SessionId(); }
  // Which instance the platform will take for the peer is open: perhaps the primary, if that fell
  // asleep. A second invocation now could find it busy, start a new instance, and make it look
  // lost.
  bool peer_pending() const { return open(peer_) && !peer_.ready; }
  // Another instance answered in this session first.
  bool IsOthers(SessionId session, InstanceId instance) const;
  Session NewSession(TimePoint now);
  void TryInvoke(Purpose purpose, TimePoint now, Actions& actions);
  void Flush(Actions& actions);
  void FailAll(Actions& actions);
  void Requeue(TimePoint now, Actions& actions);
  void BackOffAfterFailure(TimePoint now);
  bool IsNew(InstanceId instance) const {
    return instance != instance_ && instance != peer_instance_;
  }
  void AdoptPrimary(InstanceId instance, TimePoint now, Actions& actions);
  void AdoptPeer(InstanceId instance, TimePoint now, Actions& actions);
  void OnPrimaryPong(InstanceId instance, TimePoint runs_until, TimePoint now, Actions& actions);
  void OnPeerPong(InstanceId instance, TimePoint runs_until, TimePoint now, Actions& actions);
  // The primary's invocation woke the peer: another one is to wake the primary. False if the peer
  // may go on instead.
  bool LookForPrimary(TimePoint runs_until, TimePoint now, Actions& actions);
  // The peer goes on in place of the primary. `newcomer` answered where the primary would have, so
  // that it is gone; 0: nobody did.
  void TakeOver(InstanceId newcomer, TimePoint now, Actions& actions);
  void GoOnAsPrimary(TimePoint now, Actions& actions);
  Actions EndSession(SessionId session, End end, TimePoint now);
  void EndPrimary(End end, TimePoint now, Actions& actions);
  void EndPeer(TimePoint now, Actions& actions);

  const Options options_;
  Random random_;
  std::uint64_t last_session_;
  Backoff backoff_;
  Preflight preflight_;

  State state_ = State::kAsleep;
  Session primary_;
  Session peer_;
  InstanceId instance_;
  InstanceId peer_instance_;
  TimePoint idle_since_ = TimePoint::max();  // of the primary; max: unknown, or in session
  TimePoint peer_idle_since_ = TimePoint::max();
  TimePoint peer_runs_until_ = TimePoint::min();  // as it promised in its last PONG
  bool peer_is_current_ = false;
  int looks_ = 0;                            // in a row
  TimePoint look_until_ = TimePoint::max();  // of the one under way; max: there is none

  std::size_t queued_ = 0;
  std::size_t sent_ = 0;
  TimePoint wait_deadline_ = TimePoint::max();  // of what is queued
  bool overdue_ = false;                        // it passed, and the node did not show itself since
  TimePoint preflight_sent_ = TimePoint::max();  // max: none is unanswered
  TimePoint retry_at_ = TimePoint::min();
  SessionId returning_;  // said BYE, and has perhaps not returned
  TimePoint returns_by_ = TimePoint::min();
  bool unseen_beside_peer_ = false;  // see Session::beside_peer
  int fruitless_ = 0;                // sessions in a row that answered nothing although asked
};

}  // namespace infinicache::policy
