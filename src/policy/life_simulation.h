// A node's life by chance: the real NodeMachine, SessionLifetime, Preflight and WarmUp against a
// modelled platform and network that do what they may do, and a watcher of what must hold. Only
// for tests; it owns no thread, reads no clock, and a seed gives the same life every time.
//
// The platform delays and fails invocations, wakes any idle instance or makes a new one, reclaims
// idle ones, crashes and freezes busy ones, kills those that run for too long, and may keep to
// itself that an invocation returned. It may run one a second time, in a new instance that it then
// has no more use for. The network delays messages in their order, delivers PONG
// and BYE a second time much later, and cuts links; a node dials again, or does not. What reaches a
// sleeping instance waits in its socket. Which of these a life has, and how often, is drawn from
// the seed ("swarm testing"): a life without one fault goes deeper into the others.
//
// Watched, after every event:
//   * no invocation while another is open, except one beside a peer's, also one at most;
//   * no request waits for the node past its deadline, none is unresolved at the end;
//   * no session runs into the platform's maximum, unless its instance was frozen;
//   * what is believed to be stored is stored, by the instance of which it is believed, and only
//     instances that are gone are declared lost;
//   * a peer that is behind replaces a living primary only after looks for it in vain;
//   * nodes that hold nothing are not warmed up.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/ids.h"
#include "policy/life_model.h"
#include "policy/node_machine.h"
#include "policy/session_lifetime.h"
#include "policy/warm_up.h"

namespace infinicache::policy {

class LifeSimulation : private LifeModel {
 public:
  using LifeModel::Result;

  static Result Run(std::uint64_t seed) {
    LifeSimulation simulation(seed);
    simulation.Live();
    return std::move(simulation.result_);
  }

 private:
  static constexpr Duration kLength = std::chrono::minutes(4);
  // Far more than the busiest life has.
  static constexpr int kEventsMax = 300'000;
  // A request's own; longer than what it may wait for the node.
  static constexpr Duration kRequestDeadline = std::chrono::seconds(8);

  explicit LifeSimulation(std::uint64_t seed)
      : LifeModel(seed),
        machine_(machine_options_, seed ^ 0x5EEDU),
        warm_up_interval_({.interval = std::chrono::seconds(20),
                           .min = std::chrono::seconds(5),
                           .max = std::chrono::minutes(1),
                           .risk = 0.05}),
        warm_up_(now_, random_),
        busy_(Chance(0.5)) {}

  // --- Time -------------------------------------------------------------------------------------

  void Live() {
    const TimePoint end = now_ + kLength;
    for (const bool source : {true, true, false}) Disturb(end, source);
    ArriveLater(end);
    // The last requests, and the longest session, end after the last arrival.
    for (int count = 0; HasEvents() && result_.violation.empty(); ++count) {
      if (count > kEventsMax) Violate("events follow each other without end");
      RunNext();
      Watch();
    }
    if (!requests_.empty()) Violate("requests are unresolved at the end");
  }

  void Watch() {
    for (const auto& [id, request] : requests_) {
      if (!request.sent && now_ > request.queued_since + machine_options_.wake_deadline) {
        Violate("a request waits for the node past its deadline");
      }
    }
    for (const auto& [id, chunks] : believed_) {
      if (id != machine_.instance() && id != machine_.peer_instance()) {
        Violate("data are believed on an instance that is not known");
      }
    }
    if (machine_.queued() != CountRequests(false)) Violate("the machine miscounts what is queued");
    if (machine_.sent() != CountRequests(true)) Violate("the machine miscounts what is sent");
  }
  // --- The proxy --------------------------------------------------------------------------------

  void ArriveLater(TimePoint end) {
    const Duration gap = busy_ ? Between(Duration(0), std::chrono::milliseconds(400))
                               : Between(Duration(0), std::chrono::seconds(25));
    if (Chance(0.02)) busy_ = !busy_;
    if (now_ + gap > end) return;
    After(gap, [this, end] {
      Arrive();
      ArriveLater(end);
    });
  }

  void Arrive() {
    const std::uint64_t id = ++last_request_;
    const auto& stored = believed_[machine_.instance()];
    Request request{.chunk = id, .put = stored.empty() || Chance(0.3), .queued_since = now_};
    if (!request.put) request.chunk = *stored.begin();
    if (stored.empty()) believed_.erase(machine_.instance());
    requests_[id] = request;
    After(kRequestDeadline, [this, id] { GiveUp(id); });
    Do(machine_.OnDemand(now_));
  }

  void GiveUp(std::uint64_t id) {
    const auto found = requests_.find(id);
    if (found == requests_.end()) return;
    Count("requests given up");
    if (found->second.sent) {
      machine_.OnSentAbandoned();
    } else {
      machine_.OnQueuedAbandoned();
    }
    requests_.erase(found);
    ArmTick();
  }

  void Do(const Actions& actions) {
    for (const Action& action : actions) {
      std::visit([this](const auto& each) { Act(each); }, action);
    }
    ArmTick();
    ArmWarmUp();
  }

  void ArmTick() {
    const TimePoint next = machine_.NextTick();
    if (next == TimePoint::max() || next == armed_tick_) return;
    armed_tick_ = next;
    At(next, [this, next] {
      if (armed_tick_ != next) return;
      armed_tick_ = TimePoint::max();
      Do(machine_.OnTick(now_));
    });
  }

  // Without requests a life would go on by warm-ups for ever.
  bool WarmsUp() const { return now_ < TimePoint(kLength) && !believed_.empty(); }

  void ArmWarmUp() {
    warm_up_.set_holds_data(WarmsUp());
    const std::optional<TimePoint> next = warm_up_.Next(warm_up_interval_);
    if (!next || *next == armed_warm_up_) return;
    armed_warm_up_ = *next;
    At(*next, [this, next] {
      if (armed_warm_up_ != *next) return;
      armed_warm_up_ = TimePoint::max();
      warm_up_.set_holds_data(WarmsUp());
      if (!warm_up_.Next(warm_up_interval_)) return;
      warm_up_.OnSession(now_, random_);  // also where one is open, or the node is backed off
      Do(machine_.OnWarmUpDue(now_));
    });
  }

  void Act(const Invoke& invoke) {
    const bool backup = invoke.purpose == Purpose::kBackup;
    for (const auto& [session, other_is_backup] : open_) {
      if (other_is_backup == backup) Violate("invoked while an invocation is open");
    }
    if (invoke.purpose == Purpose::kWarmUp) {
      Count("warm-ups");
      if (believed_.empty()) Violate("a node that holds nothing is warmed up");
    }
    Count(backup ? "invocations for backup" : "invocations");
    open_[invoke.session] = backup;
    if (!backup) warm_up_.OnSession(now_, random_);
    if (backup) for_backup_.insert(invoke.session);
    const SessionId beside = machine_.peer_session();
    if (!backup && beside != SessionId() && !for_backup_.contains(beside)) {
      ++looks_;
      looked_at_ = now_;
      Count("looks for the primary");
    }
    const Duration wait = Chance(faults_.invoke_is_slow)
                              ? Between(Duration(0), std::chrono::seconds(8))
                              : Between(Duration(0), std::chrono::milliseconds(200));
    After(wait, [this, invoke] { Begin(invoke); });
  }

  void Act(const SendPreflight& /*unused*/) {
    Count("preflights");
    Instance* instance = Find(machine_.instance());
    ToNode(*instance, [this, instance] {
      if (instance->lifetime.OnPreflight(now_)) SendPong(*instance);
      Arm(*instance);
    });
  }

  void Act(const FlushRequests& /*unused*/) {
    for (auto& [id, request] : requests_) {
      if (request.sent) continue;
      request.sent = true;
      Send(*Find(machine_.instance()), id, request);
    }
  }

  void Act(const RequeueUnanswered& /*unused*/) {
    Count("requeues");
    // The node's deadline is that of its oldest waiter.
    TimePoint since = now_;
    for (const auto& [id, request] : requests_) {
      if (!request.sent) since = std::min(since, request.queued_since);
    }
    for (auto& [id, request] : requests_) {
      if (std::exchange(request.sent, false)) request.queued_since = since;
    }
  }

  void Act(const FailWaiters& /*unused*/) {
    Count("waiters failed");
    std::erase_if(requests_, [](const auto& each) { return !each.second.sent; });
  }

  void Act(const BackOff& back_off) {
    Count("back-offs");
    if (back_off.until <= now_) Violate("a back-off that is over");
  }

  void Act(const DeclareLost& lost) {
    Count("instances lost");
    if (Find(lost.instance)->alive) {
      Count("living instances declared lost");
      if (!unseen_) Violate("a living instance is declared lost");
    }
    if (lost.idle < Duration(0)) Violate("a negative idle age");
    warm_up_interval_.OnFoundReclaimed(lost.idle);
    believed_.erase(lost.instance);
  }

  bool PeerIsCurrent() const {
    return Includes(BelievedOn(machine_.peer_instance()), BelievedOn(machine_.instance()));
  }
  std::set<Chunk> BelievedOn(InstanceId instance) const {
    const auto found = believed_.find(instance);
    return found == believed_.end() ? std::set<Chunk>() : found->second;
  }

  // What only a living primary has is given up after looks for it alone.
  void CheckSuccession(const UseInstance& use) {
    const InstanceId former = std::exchange(used_, use.instance);
    const int looks = std::exchange(looks_, 0);
    if (former == use.instance) {
      if (looks > 0) Count("primaries found");
      return;
    }
    if (use.fresh) return;
    Count(looks > 0 ? "peers that took over behind" : "peers that took over at once");
    const auto believed = believed_.find(former);
    if (believed == believed_.end() || Includes(BelievedOn(use.instance), believed->second)) return;
    const bool looked = looks >= NodeMachine::kLooksMax ||
                        (looks > 0 && now_ >= looked_at_ + machine_options_.look_patience);
    if (Find(former)->alive && !looked) Violate("a peer that is behind replaced a living primary");
  }

  void Act(const UseInstance& use) {
    Count(use.fresh ? "fresh instances" : "known instances");
    CheckSuccession(use);
    warm_up_interval_.OnFoundAlive(use.idle);
    const auto believed = believed_.find(use.instance);
    if (believed == believed_.end()) return;
    if (use.fresh) Violate("a fresh instance is believed to hold data");
    for (const Chunk chunk : believed->second) {
      if (!Find(use.instance)->chunks.contains(chunk)) Violate("a chunk is not where it should be");
    }
  }

  void Act(const PeerReady& peer) {
    Count("peers ready");
    if (peer.fresh && believed_.contains(peer.instance)) Violate("a fresh peer holds data");
    NoteRoles();
  }
  void Act(const PeerGone& /*unused*/) {
    Count("peers gone");
    NoteRoles();
  }
  // Whose a session is may turn out, or change, after its invocation.
  void NoteRoles() {
    for (auto& [session, backup] : open_) {
      if (session == machine_.peer_session()) backup = true;
      if (session != machine_.session()) continue;
      if (std::exchange(backup, false)) Count("peers turned primary");
    }
  }

  void OnAnswer(InstanceId sender, std::uint64_t id, Chunk chunk, bool stored) {
    // The links of other instances are closed.
    if (sender != machine_.instance() && sender != machine_.peer_instance()) return;
    const auto found = requests_.find(id);
    if (found == requests_.end()) return;
    Count("answers");
    const bool put = found->second.put;
    requests_.erase(found);
    machine_.OnRequestAnswered();
    ArmTick();
    const auto believed = believed_.find(sender);
    if (put) {
      believed_[sender].insert(chunk);
      ArmWarmUp();
    } else if (!stored && believed != believed_.end() && believed->second.contains(chunk)) {
      Violate("a chunk that is believed to be stored is missed");
    }
  }

  // --- Platform and network ---------------------------------------------------------------------

  Instance* Find(InstanceId id) {
    for (Instance& instance : instances_) {
      if (instance.id == id) return &instance;
    }
    CHECK(false, "no instance {}", id.value());
    return nullptr;
  }

  void Begin(const Invoke& invoke) {
    if (Chance(faults_.invoke_fails)) {
      Count("invocations failed");
      open_.erase(invoke.session);
      Do(machine_.OnInvokeRefused(invoke.session, now_));
      return;
    }
    Instance& instance = PickInstance();
    instance.session = invoke.session;
    instance.backup = invoke.purpose == Purpose::kBackup;
    instance.lifetime.Start(now_, now_,
                            invoke.purpose == Purpose::kWarmUp
                                ? SessionLifetime::Opening::kWarmUp
                                : SessionLifetime::Opening::kRequest);
    if (!instance.linked) Dial(instance);
    SendPong(instance);
    for (auto& message : std::exchange(instance.socket, {})) message();
    if (instance.backup) Synchronize(instance);
    Arm(instance);
    KillWhenTooLong(instance, invoke.session);
    if (instance.backup || !Chance(faults_.repeat)) return;
    After(Between(Duration(0), std::chrono::seconds(1)),
          [this, invoke] { Repeat(invoke.session); });
  }

  void KillWhenTooLong(Instance& instance, SessionId session) {
    After(lifetime_options_.maximum, [this, &instance, session] {
      if (instance.session != session) return;
      if (now_ > instance.frozen_until) Violate("a session ran into the platform's maximum");
      Kill(instance, "sessions killed");
    });
  }

  // Runs the invocation again, beside the instance that has answered it.
  void Repeat(SessionId session) {
    if (machine_.session() != session || !seen_.contains(session)) return;
    Count("repeated invocations");
    instances_.emplace_back(InstanceId(random_()), lifetime_options_);
    Instance& copy = instances_.back();
    copy.copy = true;
    copy.session = session;
    copy.lifetime.Start(now_, now_, SessionLifetime::Opening::kRequest);
    Dial(copy);
    SendPong(copy);
    Arm(copy);
    KillWhenTooLong(copy, session);
  }

  Instance& PickInstance() {
    std::vector<Instance*> idle;
    for (Instance& instance : instances_) {
      if (instance.alive && instance.session == SessionId() && !instance.copy)
        idle.push_back(&instance);
    }
    if (!idle.empty()) return *idle[random_.Below(idle.size())];
    instances_.emplace_back(InstanceId(random_()), lifetime_options_);
    return instances_.back();
  }

  // Runs in the instance's session: at once, after its freeze, or never.
  void InSession(Instance& instance, SessionId session, std::function<void()> run) {
    if (!instance.alive || instance.session != session) return;
    if (now_ >= instance.frozen_until) {
      run();
    } else {
      At(instance.frozen_until,
         [this, &instance, session, run = std::move(run)] { InSession(instance, session, run); });
    }
  }

  void ToNode(Instance& instance, const std::function<void()>& handle) {
    if (!instance.linked) return;
    instance.last_to_node =
        std::max(instance.last_to_node, now_ + Between(Duration(0), std::chrono::milliseconds(9)));
    const std::uint64_t link = instance.link;
    At(instance.last_to_node, [this, &instance, link, handle] {
      if (!instance.alive || instance.link != link) return;
      if (instance.session == SessionId()) {
        instance.socket.push_back(handle);
      } else {
        InSession(instance, instance.session, handle);
      }
    });
  }

  // `again`: the network may deliver it twice.
  void ToProxy(Instance& instance, bool again, const std::function<void()>& handle) {
    if (!instance.linked) return;
    instance.last_to_proxy =
        std::max(instance.last_to_proxy, now_ + Between(Duration(0), std::chrono::milliseconds(9)));
    const std::uint64_t link = instance.link;
    At(instance.last_to_proxy, [&instance, link, handle] {
      if (instance.link == link) handle();
    });
    if (!again || !Chance(faults_.duplicate)) return;
    Count("duplicates");
    After(Between(std::chrono::milliseconds(9), std::chrono::seconds(40)), handle);
  }

  // The platform tells that an invocation is over.
  void TellEnd(SessionId session, InstanceId instance, bool ok) {
    unseen_ = unseen_ || !seen_.contains(session);
    Do(ok ? machine_.OnInvokeSucceeded(session, instance, now_)
          : machine_.OnInvokeFailed(session, instance, now_));
  }

  void SendPong(Instance& instance) {
    const Duration remaining = instance.lifetime.Promise(now_) - now_;
    ToProxy(instance, true, [this, session = instance.session, id = instance.id, remaining] {
      seen_.insert(session);
      machine_.set_peer_is_current(PeerIsCurrent());
      Do(machine_.OnPong(session, id, now_ + remaining, now_));
    });
  }

  void Send(Instance& instance, std::uint64_t id, const Request& request) {
    ToNode(instance, [this, &instance, id, request] {
      if (!instance.lifetime.OnRequestStarted(now_)) return;
      const SessionId session = instance.session;
      const Duration service =
          Between(Duration(0), std::chrono::milliseconds(Chance(0.02) ? 3000 : 30));
      After(service, [this, &instance, session, id, request] {
        InSession(instance, session, [this, &instance, id, request] {
          if (request.put) instance.chunks.insert(request.chunk);
          const bool stored = instance.chunks.contains(request.chunk);
          instance.lifetime.OnRequestFinished(now_);
          ToProxy(instance, false, [this, sender = instance.id, id, request, stored] {
            OnAnswer(sender, id, request.chunk, stored);
          });
          Arm(instance);
        });
      });
    });
  }

  // The peer takes over what the primary has.
  void Synchronize(Instance& peer) {
    const InstanceId primary = machine_.instance();
    if (primary == peer.id || !peer.lifetime.OnRequestStarted(now_)) return;
    After(Between(Duration(0), std::chrono::seconds(1)),
          [this, &peer, session = peer.session, primary] {
            InSession(peer, session, [this, &peer, primary] {
              const Instance& source = *Find(primary);
              if (source.alive) peer.chunks.insert(source.chunks.begin(), source.chunks.end());
              peer.lifetime.OnRequestFinished(now_);
              ToProxy(peer, false, [this, id = peer.id, chunks = peer.chunks] {
                if (id == machine_.peer_instance() && !chunks.empty()) believed_[id] = chunks;
              });
              Arm(peer);
            });
          });
  }

  // Checks the session's lifetime now, and when it says so again.
  void Arm(Instance& instance) {
    const auto verdict = instance.lifetime.Check(now_);
    if (verdict.ended) {
      EndSession(instance);
      return;
    }
    At(verdict.next, [this, &instance, session = instance.session, timer = ++instance.timer] {
      InSession(instance, session, [this, &instance, timer] {
        if (instance.timer == timer) Arm(instance);
      });
    });
  }

  void EndSession(Instance& instance) {
    const SessionId session = std::exchange(instance.session, SessionId());
    if (!instance.copy) open_.erase(session);
    Count("sessions");
    ToProxy(instance, true,
            [this, session, id = instance.id] { Do(machine_.OnBye(session, id, now_)); });
    if (!Chance(faults_.end_untold)) {
      After(Between(Duration(0), std::chrono::milliseconds(50)),
            [this, session, id = instance.id] { TellEnd(session, id, true); });
    }
    if (!Chance(faults_.reclaim)) return;
    After(Between(Duration(0), std::chrono::seconds(60)), [this, &instance] {
      if (instance.alive && instance.session == SessionId()) Kill(instance, "reclaims");
    });
  }

  void Kill(Instance& instance, const char* why) {
    Count(why);
    instance.alive = false;
    Cut(instance);
    const SessionId session = std::exchange(instance.session, SessionId());
    if (session == SessionId()) return;
    if (!instance.copy) open_.erase(session);
    if (Chance(faults_.end_untold)) return;
    After(Between(Duration(0), std::chrono::seconds(1)),
          [this, session, id = instance.id] { TellEnd(session, id, false); });
  }

  void Dial(Instance& instance) {
    instance.linked = true;
    ++instance.link;
  }

  void Cut(Instance& instance) {
    if (!std::exchange(instance.linked, false)) return;
    ++instance.link;
    instance.socket.clear();
    if (instance.id == machine_.instance()) Do(machine_.OnLinkLost(now_));
  }

  // Every now and then something happens to an instance, or a backup is due.
  void Disturb(TimePoint end, bool fault) {
    const Duration wait = Between(Duration(0), std::chrono::seconds(fault ? 4 : 30));
    if (now_ + wait > end) return;
    After(wait, [this, end, fault] {
      if (fault) {
        DisturbOne();
      } else {
        Do(machine_.OnPeerDemand(now_));
      }
      Disturb(end, fault);
    });
  }

  void DisturbOne() {
    const std::vector<Instance*> in_session = AllInSession();
    if (in_session.empty()) return;
    Instance& instance = *in_session[random_.Below(in_session.size())];
    if (Chance(faults_.crash)) {
      Kill(instance, "crashes");
    } else if (Chance(faults_.freeze)) {
      Count("freezes");
      instance.frozen_until =
          std::max(instance.frozen_until, now_ + Between(Duration(0), std::chrono::seconds(15)));
    } else if (Chance(faults_.cut)) {
      Count("links cut");
      Cut(instance);
      if (Chance(faults_.never_dials_again)) return;
      After(Between(Duration(0), std::chrono::seconds(2)), [this, &instance] {
        InSession(instance, instance.session, [this, &instance] { DialAgain(instance); });
      });
    }
  }

  void DialAgain(Instance& instance) {
    if (instance.session == SessionId() || instance.linked) return;
    Dial(instance);
    SendPong(instance);
    Arm(instance);
  }

  NodeMachine machine_;
  WarmUpInterval warm_up_interval_;
  WarmUp warm_up_;
  bool busy_;  // requests follow each other closely
  TimePoint armed_tick_ = TimePoint::max();
  TimePoint armed_warm_up_ = TimePoint::max();
  std::map<InstanceId, std::set<Chunk>> believed_;  // by instance, none empty
  std::set<SessionId> for_backup_;
  InstanceId used_;  // of the last UseInstance
  int looks_ = 0;    // for it, since then
  TimePoint looked_at_;

  std::set<SessionId> seen_;        // sessions whose PONG arrived
  bool unseen_ = false;             // one ended before its PONG arrived
  std::map<SessionId, bool> open_;  // invocations that the platform has not ended; is it a backup?
};

}  // namespace infinicache::policy
