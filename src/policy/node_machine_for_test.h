// What the tests of a node's machine share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>

#include "policy/node_machine.h"

namespace infinicache::policy {

inline constexpr std::uint64_t kSeed = 23;
inline constexpr TimePoint kNow{std::chrono::seconds(5000)};
inline constexpr TimePoint kLater = kNow + std::chrono::seconds(9);
inline constexpr InstanceId kFirst{101};
inline constexpr InstanceId kSecond{102};
inline constexpr InstanceId kThird{103};
inline constexpr InstanceId kNone;

template <typename... Each>
auto Are(Each... actions) {
  return testing::ElementsAre(Action(actions)...);
}

class NodeMachineTest : public testing::Test {
 protected:
  // A demand has invoked the node; returns the session.
  SessionId Wake() {
    (void)machine_.OnDemand(kNow);
    return machine_.session();
  }
  // One request was sent to an active session.
  SessionId Activate(InstanceId instance = kFirst, Duration runs_for = std::chrono::seconds(1)) {
    const SessionId session = Wake();
    (void)machine_.OnPong(session, instance, kNow + runs_for, kNow);
    EXPECT_EQ(machine_.state(), NodeMachine::State::kActive);
    return session;
  }
  // Asleep after a session with `instance`, nothing waits.
  void Rest(InstanceId instance = kFirst) {
    const SessionId session = Activate(instance);
    machine_.OnRequestAnswered();
    (void)machine_.OnBye(session, instance, kNow);
    EXPECT_EQ(machine_.state(), NodeMachine::State::kAsleep);
  }
  // The primary is kFirst in session, the peer kSecond was.
  SessionId ActivateWithPeer() {
    const SessionId session = Activate(kFirst);
    (void)machine_.OnPeerDemand(kNow);
    const SessionId peer = machine_.peer_session();
    (void)machine_.OnPong(peer, kSecond, kNow, kNow);
    (void)machine_.OnBye(peer, kSecond, kNow);
    return session;
  }

  // The primary kFirst sleeps since kNow; at kLater a demand has woken the peer, which is behind
  // and promises a second. Returns that session; `actions_` is what followed.
  SessionId WakeStalePeer() {
    const SessionId session = ActivateWithPeer();
    machine_.OnRequestAnswered();
    (void)machine_.OnBye(session, kFirst, kNow);
    (void)machine_.OnDemand(kLater - std::chrono::seconds(1));
    const SessionId woken = machine_.session();
    actions_ = machine_.OnPong(woken, kSecond, kLater + std::chrono::seconds(1), kLater);
    return woken;
  }

  NodeMachine::Options options_;
  NodeMachine machine_{options_, kSeed};
  Actions actions_;
};

}  // namespace infinicache::policy
