// What a simulated life is made of: virtual time with its events, chance, and the platform that a
// seed draws. Only for LifeSimulation, which adds what happens.
//
// Owns no thread and reads no clock. O(log events) per event; not thread-safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <queue>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/random.h"
#include "policy/node_machine.h"
#include "policy/session_lifetime.h"

namespace infinicache::policy {

class LifeModel {
 protected:
  using Chunk = std::uint64_t;

  struct Faults {
    double invoke_fails = 0;
    double invoke_is_slow = 0;
    double end_untold = 0;
    double crash = 0;
    double freeze = 0;
    double reclaim = 0;
    double cut = 0;
    double never_dials_again = 0;
    double duplicate = 0;
    double repeat = 0;
  };

  struct Instance {
    Instance(InstanceId its_id, const SessionLifetime::Options& options)
        : id(its_id), lifetime(options) {}

    InstanceId id;
    SessionLifetime lifetime;
    bool alive = true;
    SessionId session;  // 0: idle
    bool backup = false;
    bool copy = false;  // it has an invocation that another instance has too
    std::set<Chunk> chunks;
    std::vector<std::function<void()>> socket;  // what waits for the next session
    TimePoint frozen_until = TimePoint::min();
    std::uint64_t link = 0;  // changes when the link is cut, or dialled
    bool linked = false;
    TimePoint last_to_proxy = TimePoint::min();
    TimePoint last_to_node = TimePoint::min();
    std::uint64_t timer = 0;  // an older one is void
  };

  struct Request {
    Chunk chunk = 0;
    bool put = false;
    bool sent = false;
    TimePoint queued_since;
  };

  struct Event {
    TimePoint at;
    std::uint64_t order;
    std::function<void()> run;
    // The queue's top is its largest: the earliest event, of those the first made.
    bool operator<(const Event& other) const {
      return std::pair(other.at, other.order) < std::pair(at, order);
    }
  };

  struct Result {
    std::string violation;  // of the first promise that was broken; empty: none
    // What happened, so that a test can tell that everything did.
    std::map<std::string, std::uint64_t> counts;
  };

  explicit LifeModel(std::uint64_t seed)
      : random_(seed),
        machine_options_(DrawMachineOptions()),
        lifetime_options_(DrawLifetimeOptions()),
        faults_(DrawFaults()) {}

  void At(TimePoint when, std::function<void()> run) {
    events_.push({std::max(when, now_), ++order_, std::move(run)});
  }
  void After(Duration wait, std::function<void()> run) { At(now_ + wait, std::move(run)); }

  void Violate(const std::string& what) {
    if (result_.violation.empty()) result_.violation = what;
  }
  void Count(const char* what) { ++result_.counts[what]; }
  std::size_t CountRequests(bool sent) const {
    std::size_t count = 0;
    for (const auto& [id, request] : requests_) count += request.sent == sent ? 1 : 0;
    return count;
  }

  std::vector<Instance*> AllInSession() {
    std::vector<Instance*> in_session;
    for (Instance& instance : instances_) {
      if (instance.alive && instance.session != SessionId()) in_session.push_back(&instance);
    }
    return in_session;
  }

  bool HasEvents() const { return !events_.empty(); }
  void RunNext() {
    const Event event = events_.top();
    events_.pop();
    now_ = event.at;
    event.run();
  }

  bool Chance(double probability) { return random_.Unit() < probability; }
  Duration Between(Duration least, Duration most) {
    return least + Duration(random_.Below(static_cast<std::uint64_t>((most - least).count()) + 1));
  }
  double Rate(double most) { return Chance(0.4) ? 0 : most * random_.Unit(); }

  static bool Includes(const std::set<Chunk>& all, const std::set<Chunk>& some) {
    return std::includes(all.begin(), all.end(), some.begin(), some.end());
  }

  NodeMachine::Options DrawMachineOptions() {
    NodeMachine::Options options;
    options.preflight.notifies = Chance(0.3);
    options.wake_deadline = std::chrono::seconds(3);
    options.session_maximum = Chance(0.5) ? std::chrono::seconds(20) : std::chrono::seconds(90);
    return options;
  }

  SessionLifetime::Options DrawLifetimeOptions() {
    const Duration quanta[] = {Duration(0), std::chrono::milliseconds(1),
                               std::chrono::milliseconds(100)};
    SessionLifetime::Options options;
    options.quantum = quanta[random_.Below(3)];
    options.maximum = machine_options_.session_maximum;
    options.drain = Chance(0.5) ? std::chrono::seconds(1) : std::chrono::seconds(0);
    options.idle_cost_per_second = Chance(0.2) ? 0 : 1;
    options.invocation_cost = random_.Unit();
    return options;
  }

  Faults DrawFaults() {
    return {.invoke_fails = Rate(0.5),
            .invoke_is_slow = Rate(0.3),
            .end_untold = Rate(0.3),
            .crash = Rate(0.1),
            .freeze = Rate(0.2),
            .reclaim = Rate(0.3),
            .cut = Rate(0.2),
            .never_dials_again = Rate(0.5),
            .duplicate = Rate(0.3),
            .repeat = Rate(0.2)};
  }

  Random random_;
  NodeMachine::Options machine_options_;
  SessionLifetime::Options lifetime_options_;
  Faults faults_;
  TimePoint now_{Duration(0)};
  Result result_;
  std::map<std::uint64_t, Request> requests_;
  std::uint64_t last_request_ = 0;
  std::deque<Instance> instances_;  // the dead too: messages of theirs may be under way

 private:
  std::uint64_t order_ = 0;
  std::priority_queue<Event> events_;
};

}  // namespace infinicache::policy
