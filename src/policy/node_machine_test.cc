#include "policy/node_machine.h"

#include <chrono>

#include "policy/node_machine_for_test.h"

namespace infinicache::policy {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::IsEmpty;
using State = NodeMachine::State;

NodeMachine::Options Notifying() {
  return {.preflight = {.notifies = true}};
}

TEST_F(NodeMachineTest, ADemandWakesASleepingNode) {
  const Actions actions = machine_.OnDemand(kNow);
  EXPECT_THAT(actions, Are(Invoke{machine_.session(), Purpose::kRequest}));
  EXPECT_EQ(machine_.state(), State::kWaking);
  EXPECT_NE(machine_.session(), SessionId());
}

TEST_F(NodeMachineTest, FurtherDemandsWaitForTheSameInvocation) {
  Wake();
  EXPECT_THAT(machine_.OnDemand(kNow + seconds(1)), IsEmpty());
  EXPECT_THAT(machine_.OnWarmUpDue(kNow + seconds(1)), IsEmpty());
  EXPECT_THAT(machine_.OnPeerDemand(kNow + seconds(1)), IsEmpty());
  EXPECT_EQ(machine_.queued(), 2U);
}

TEST_F(NodeMachineTest, TheFirstPongEverMakesItActiveAndSendsWhatWaits) {
  const SessionId session = Wake();
  EXPECT_THAT(machine_.OnPong(session, kFirst, kNow + seconds(1), kNow),
              Are(UseInstance{kFirst, Duration(0), true}, FlushRequests{}));
  EXPECT_EQ(machine_.state(), State::kActive);
  EXPECT_EQ(machine_.sent(), 1U);
  // The defect of the original: this demand invoked a second time.
  EXPECT_THAT(machine_.OnDemand(kNow), Are(FlushRequests{}));
}

TEST_F(NodeMachineTest, WithinAPromiseARequestIsSentAtOnceLaterAfterOnePreflight) {
  const SessionId session = Activate(kFirst, milliseconds(100));
  EXPECT_THAT(machine_.OnDemand(kNow + milliseconds(50)), Are(FlushRequests{}));
  EXPECT_THAT(machine_.OnDemand(kNow + milliseconds(90)), Are(SendPreflight{session}));
  EXPECT_THAT(machine_.OnDemand(kNow + milliseconds(91)), IsEmpty());
  EXPECT_THAT(machine_.OnPong(session, kFirst, kNow + seconds(1), kNow + milliseconds(92)),
              Are(FlushRequests{}));
  EXPECT_EQ(machine_.sent(), 4U);
}

TEST_F(NodeMachineTest, AnUnansweredPreflightFailsItsWaitersAndInvokesNothing) {
  Activate(kFirst, Duration(0));
  (void)machine_.OnDemand(kNow);
  const TimePoint deadline = kNow + options_.wake_deadline;
  EXPECT_EQ(machine_.NextTick(), deadline);
  EXPECT_THAT(machine_.OnTick(deadline), Are(FailWaiters{}));
  EXPECT_THAT(machine_.OnDemand(deadline), Are(FailWaiters{}));
  EXPECT_EQ(machine_.state(), State::kActive);
}

TEST_F(NodeMachineTest, APlatformThatNotifiesNeedsNoPreflight) {
  NodeMachine machine(Notifying(), kSeed);
  (void)machine.OnDemand(kNow);
  (void)machine.OnPong(machine.session(), kFirst, kNow, kNow);
  EXPECT_THAT(machine.OnDemand(kNow + minutes(3)), Are(FlushRequests{}));
}

TEST_F(NodeMachineTest, ByeOfAnIdleSessionPutsItToSleep) {
  const SessionId session = Activate();
  machine_.OnRequestAnswered();
  EXPECT_THAT(machine_.OnBye(session, kFirst, kNow), IsEmpty());
  EXPECT_EQ(machine_.state(), State::kAsleep);
  EXPECT_EQ(machine_.NextTick(), TimePoint::max());
}

TEST_F(NodeMachineTest, TheEndOfAnInvocationServesAsItsBye) {
  const SessionId session = Activate();
  machine_.OnRequestAnswered();
  EXPECT_THAT(machine_.OnInvokeSucceeded(session, kFirst, kNow), IsEmpty());
  EXPECT_EQ(machine_.state(), State::kAsleep);
  EXPECT_THAT(machine_.OnBye(session, kFirst, kNow), IsEmpty());
}

TEST_F(NodeMachineTest, AByeThatCrossesARequestRequeuesItAndInvokesAtOnce) {
  const SessionId session = Activate();
  const Actions actions = machine_.OnBye(session, kFirst, kNow);
  EXPECT_THAT(actions, Are(RequeueUnanswered{}, Invoke{machine_.session(), Purpose::kRequest}));
  EXPECT_NE(machine_.session(), session);
  EXPECT_EQ(machine_.queued(), 1U);
  EXPECT_EQ(machine_.sent(), 0U);
  EXPECT_THAT(machine_.OnPong(machine_.session(), kFirst, kNow, kNow),
              Are(UseInstance{kFirst, Duration(0), false}, FlushRequests{}));
}

TEST_F(NodeMachineTest, SessionsThatAnswerNothingInARowBackOff) {
  SessionId session = Activate();
  (void)machine_.OnBye(session, kFirst, kNow);
  session = machine_.session();
  (void)machine_.OnPong(session, kFirst, kNow, kNow);
  const Actions actions = machine_.OnBye(session, kFirst, kNow);
  ASSERT_EQ(actions.size(), 2U);
  ASSERT_TRUE(std::holds_alternative<BackOff>(actions[1]));
  EXPECT_GT(std::get<BackOff>(actions[1]).until, kNow);
}

TEST_F(NodeMachineTest, PongAndByeOfAnotherSessionChangeNothing) {
  const SessionId old = Activate();
  machine_.OnRequestAnswered();
  (void)machine_.OnBye(old, kFirst, kNow);
  EXPECT_THAT(machine_.OnPong(old, kSecond, kNow, kNow), IsEmpty());
  EXPECT_EQ(machine_.state(), State::kAsleep);
  const SessionId session = Wake();
  EXPECT_THAT(machine_.OnPong(old, kSecond, kNow, kNow), IsEmpty());
  EXPECT_THAT(machine_.OnBye(old, kFirst, kNow), IsEmpty());
  EXPECT_THAT(machine_.OnInvokeFailed(old, kFirst, kNow), IsEmpty());
  EXPECT_THAT(machine_.OnPong(SessionId(), kSecond, kNow, kNow), IsEmpty());
  EXPECT_THAT(machine_.OnBye(SessionId(), kFirst, kNow), IsEmpty());
  EXPECT_EQ(machine_.state(), State::kWaking);
  EXPECT_EQ(machine_.session(), session);
  EXPECT_EQ(machine_.instance(), kFirst);
}

TEST_F(NodeMachineTest, ASecondCopyOfAnInvocationDoesNotTakeTheSessionOver) {
  const SessionId session = Activate(kFirst);
  EXPECT_THAT(machine_.OnPong(session, kSecond, kNow + seconds(1), kNow), IsEmpty());
  EXPECT_EQ(machine_.instance(), kFirst);
}

TEST_F(NodeMachineTest, NothingOfASecondCopyEndsTheSession) {
  const SessionId session = Activate(kFirst);
  EXPECT_THAT(machine_.OnBye(session, kSecond, kNow), IsEmpty());
  EXPECT_THAT(machine_.OnInvokeSucceeded(session, kSecond, kNow), IsEmpty());
  EXPECT_THAT(machine_.OnInvokeFailed(session, kSecond, kNow), IsEmpty());
  EXPECT_THAT(machine_.OnInvokeRefused(session, kNow), IsEmpty()) << "it could not start";
  EXPECT_EQ(machine_.state(), State::kActive);
  EXPECT_EQ(machine_.session(), session);
  machine_.OnRequestAnswered();
  EXPECT_THAT(machine_.OnInvokeFailed(session, kNone, kNow), IsEmpty()) << "of the one that has it";
  EXPECT_EQ(machine_.state(), State::kAsleep);
}

TEST_F(NodeMachineTest, ASecondCopyDoesNotTakeTheSessionOverFromOneThatLostItsLink) {
  const SessionId session = Activate(kFirst);
  EXPECT_THAT(machine_.OnLinkLost(kNow), Are(RequeueUnanswered{}));
  EXPECT_THAT(machine_.OnPong(session, kSecond, kNow + seconds(1), kNow), IsEmpty());
  EXPECT_EQ(machine_.state(), State::kWaking);
  EXPECT_EQ(machine_.instance(), kFirst);
}

TEST_F(NodeMachineTest, TheReturnOfASecondCopyIsNotThatOfTheOneThatIsAwaited) {
  options_.return_grace = milliseconds(200);
  NodeMachine machine(options_, kSeed);
  (void)machine.OnDemand(kNow);
  const SessionId session = machine.session();
  (void)machine.OnPong(session, kFirst, kNow + seconds(1), kNow);
  machine.OnRequestAnswered();
  (void)machine.OnBye(session, kFirst, kNow);
  EXPECT_THAT(machine.OnDemand(kNow), IsEmpty()) << "it may still be busy";
  EXPECT_THAT(machine.OnInvokeSucceeded(session, kSecond, kNow), IsEmpty());
  const Actions actions = machine.OnInvokeSucceeded(session, kFirst, kNow);
  EXPECT_THAT(actions, Are(Invoke{machine.session(), Purpose::kRequest}));
}

TEST_F(NodeMachineTest, AKnownInstanceHasTheDataThatItHad) {
  Rest(kFirst);
  (void)machine_.OnDemand(kNow + seconds(30));
  EXPECT_THAT(machine_.OnPong(machine_.session(), kFirst, kNow, kNow + seconds(31)),
              Are(UseInstance{kFirst, seconds(31), false}, FlushRequests{}));
}

TEST_F(NodeMachineTest, DataAreLostOnceAnUnknownInstanceAnswersAndNotBefore) {
  Rest(kFirst);
  EXPECT_THAT(machine_.OnLinkLost(kNow), IsEmpty());
  EXPECT_EQ(machine_.instance(), kFirst);
  (void)machine_.OnDemand(kNow + seconds(30));
  EXPECT_THAT(machine_.OnPong(machine_.session(), kSecond, kNow, kNow + seconds(31)),
              Are(DeclareLost{kFirst, seconds(31)}, UseInstance{kSecond, Duration(0), true},
                  FlushRequests{}));
}

TEST_F(NodeMachineTest, ALostLinkRequeuesAndWaitsForTheSessionToShowItself) {
  const SessionId session = Activate();
  EXPECT_THAT(machine_.OnLinkLost(kNow), Are(RequeueUnanswered{}));
  EXPECT_EQ(machine_.state(), State::kWaking);
  EXPECT_THAT(machine_.OnLinkLost(kNow), IsEmpty());
  EXPECT_THAT(machine_.OnPong(session, kFirst, kNow, kNow + seconds(1)),
              Are(UseInstance{kFirst, Duration(0), false}, FlushRequests{}));
}

TEST_F(NodeMachineTest, AFailedInvocationBacksOffAndIsTriedAgain) {
  const SessionId session = Wake();
  const Actions actions = machine_.OnInvokeRefused(session, kNow);
  ASSERT_EQ(actions.size(), 1U);
  const TimePoint retry = std::get<BackOff>(actions[0]).until;
  EXPECT_GE(retry, kNow + options_.backoff_initial / 2);
  EXPECT_LE(retry, kNow + options_.backoff_initial);
  EXPECT_EQ(machine_.NextTick(), retry);
  EXPECT_THAT(machine_.OnDemand(retry - Duration(1)), Are(BackOff{retry}));
  EXPECT_THAT(machine_.OnWarmUpDue(retry - Duration(1)), IsEmpty());
  EXPECT_THAT(machine_.OnTick(retry - Duration(1)), IsEmpty());
  EXPECT_THAT(machine_.OnTick(retry), Are(Invoke{SessionId(session.value() + 1)}));
}

TEST_F(NodeMachineTest, AfterTheLastTryWaitersFailAndTheNextDemandDoesNotWait) {
  TimePoint now = kNow;
  Wake();
  Actions actions;
  int tries = 0;
  while (machine_.state() == State::kWaking) {
    ++tries;
    actions = machine_.OnInvokeRefused(machine_.session(), now);
    if (machine_.queued() == 0) break;
    now = machine_.NextTick();
    (void)machine_.OnTick(now);
  }
  EXPECT_EQ(tries, options_.failures_max);
  EXPECT_THAT(actions, Are(FailWaiters{}));
  EXPECT_EQ(machine_.NextTick(), TimePoint::max());
  EXPECT_THAT(machine_.OnDemand(now), Are(FailWaiters{}));
  // Yet it is tried again, no faster than the back-off allows.
  const Actions again = machine_.OnDemand(now + options_.backoff_max);
  EXPECT_THAT(again, Are(Invoke{machine_.session()}));
}

TEST_F(NodeMachineTest, AnAnswerEndsTheRowOfFailures) {
  (void)machine_.OnInvokeRefused(Wake(), kNow);
  (void)machine_.OnTick(machine_.NextTick());
  EXPECT_EQ(machine_.failures(), 1);
  (void)machine_.OnPong(machine_.session(), kFirst, kNow, kNow);
  EXPECT_EQ(machine_.failures(), 1);
  machine_.OnRequestAnswered();
  EXPECT_EQ(machine_.failures(), 0);
}

TEST_F(NodeMachineTest, ASessionThatReturnsWithoutPongIsAFailure) {
  const SessionId session = Wake();
  const Actions actions = machine_.OnInvokeSucceeded(session, kFirst, kNow);
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_TRUE(std::holds_alternative<BackOff>(actions[0]));
}

TEST_F(NodeMachineTest, PastTheWakingDeadlineWaitersFailAndTheInvocationGoesOn) {
  const SessionId session = Wake();
  (void)machine_.OnDemand(kNow + seconds(1));
  const TimePoint deadline = kNow + options_.wake_deadline;
  EXPECT_THAT(machine_.OnTick(deadline - Duration(1)), IsEmpty());
  EXPECT_THAT(machine_.OnTick(deadline), Are(FailWaiters{}));
  EXPECT_THAT(machine_.OnDemand(deadline), Are(FailWaiters{}));
  EXPECT_EQ(machine_.session(), session);
  EXPECT_EQ(machine_.queued(), 0U);
  EXPECT_THAT(machine_.OnPong(session, kFirst, deadline, deadline + seconds(1)),
              Are(UseInstance{kFirst, Duration(0), true}));
  EXPECT_THAT(machine_.OnDemand(deadline + seconds(1)), Are(SendPreflight{session}));
}

TEST_F(NodeMachineTest, ASessionWithoutAnEndIsOverAfterThePlatformsLongest) {
  const SessionId session = Activate();
  const TimePoint deadline = kNow + options_.session_maximum + options_.session_grace;
  EXPECT_EQ(machine_.NextTick(), deadline);
  EXPECT_THAT(machine_.OnTick(deadline - Duration(1)), IsEmpty());
  const Actions actions = machine_.OnTick(deadline);
  ASSERT_EQ(actions.size(), 2U);
  EXPECT_EQ(actions[0], Action(RequeueUnanswered{}));
  EXPECT_TRUE(std::holds_alternative<BackOff>(actions[1]));
  EXPECT_THAT(machine_.OnPong(session, kFirst, deadline, deadline), IsEmpty());
}

TEST_F(NodeMachineTest, AWarmUpInvokesASleepingNodeOnly) {
  Rest();
  const Actions actions = machine_.OnWarmUpDue(kNow);
  EXPECT_THAT(actions, Are(Invoke{machine_.session(), Purpose::kWarmUp}));
  EXPECT_THAT(machine_.OnPong(machine_.session(), kFirst, kNow, kNow),
              Are(UseInstance{kFirst, Duration(0), false}));
  EXPECT_THAT(machine_.OnWarmUpDue(kNow), IsEmpty());
  EXPECT_THAT(machine_.OnBye(machine_.session(), kFirst, kNow), IsEmpty());
  EXPECT_EQ(machine_.failures(), 0);
}

TEST_F(NodeMachineTest, GivenUpRequestsLeaveTheCounts) {
  Wake();
  (void)machine_.OnDemand(kNow);
  machine_.OnQueuedAbandoned();
  (void)machine_.OnPong(machine_.session(), kFirst, kNow, kNow);
  EXPECT_EQ(machine_.sent(), 1U);
  machine_.OnSentAbandoned();
  EXPECT_EQ(machine_.sent(), 0U);
  machine_.OnSentAbandoned();
  EXPECT_EQ(machine_.queued(), 0U);
}

TEST_F(NodeMachineTest, AnAnswerThatTheEndOfItsSessionOvertookCountsForTheRequeuedRequest) {
  (void)machine_.OnInvokeSucceeded(Activate(), kFirst, kNow);
  EXPECT_EQ(machine_.queued(), 1U);
  machine_.OnRequestAnswered();
  EXPECT_EQ(machine_.queued(), 0U);
}

TEST_F(NodeMachineTest, OnlyABackupAddsASecondSessionAndOneAtMost) {
  const SessionId session = Activate();
  const Actions actions = machine_.OnPeerDemand(kNow);
  EXPECT_THAT(actions, Are(Invoke{machine_.peer_session(), Purpose::kBackup}));
  EXPECT_NE(machine_.peer_session(), session);
  EXPECT_THAT(machine_.OnPeerDemand(kNow), IsEmpty());
  EXPECT_THAT(machine_.OnPong(machine_.peer_session(), kSecond, kNow, kNow),
              Are(PeerReady{kSecond, true}));
  EXPECT_THAT(machine_.OnPong(machine_.peer_session(), kSecond, kNow, kNow), IsEmpty());
  EXPECT_THAT(machine_.OnBye(machine_.peer_session(), kSecond, kNow), Are(PeerGone{}));
  EXPECT_EQ(machine_.session(), session);
  EXPECT_EQ(machine_.instance(), kFirst);
}

TEST_F(NodeMachineTest, APeerThatIsCurrentTakesOverAtOnce) {
  const SessionId session = ActivateWithPeer();
  machine_.OnRequestAnswered();
  (void)machine_.OnBye(session, kFirst, kNow);
  (void)machine_.OnDemand(kNow + seconds(9));
  machine_.set_peer_is_current(true);
  EXPECT_THAT(machine_.OnPong(machine_.session(), kSecond, kNow, kNow + seconds(9)),
              Are(UseInstance{kSecond, seconds(9), false}, FlushRequests{}));
  EXPECT_EQ(machine_.peer_instance(), kFirst);
}

TEST_F(NodeMachineTest, AnUnknownInstanceMeansThatNeitherPrimaryNorPeerWasLeft) {
  const SessionId session = ActivateWithPeer();
  machine_.OnRequestAnswered();
  (void)machine_.OnBye(session, kFirst, kNow);
  (void)machine_.OnDemand(kNow + seconds(9));
  EXPECT_THAT(machine_.OnPong(machine_.session(), kThird, kNow, kNow + seconds(9)),
              Are(DeclareLost{kFirst, seconds(9)}, DeclareLost{kSecond, seconds(9)},
                  UseInstance{kThird, Duration(0), true}, FlushRequests{}));
  EXPECT_EQ(machine_.peer_instance(), kNone);
}

TEST_F(NodeMachineTest, APeerThatIsBehindWaitsWhileThePrimaryIsLookedFor) {
  const SessionId first = WakeStalePeer();
  EXPECT_THAT(actions_, Are(PeerReady{kSecond, false, seconds(9)}, Invoke{machine_.session()}));
  EXPECT_EQ(machine_.state(), State::kWaking);
  EXPECT_EQ(machine_.instance(), kFirst);
  EXPECT_EQ(machine_.peer_session(), first);
  EXPECT_EQ(machine_.queued(), 1U);
  // It lives, and goes on; the peer's session ends by itself.
  EXPECT_THAT(machine_.OnPong(machine_.session(), kFirst, kLater, kLater),
              Are(UseInstance{kFirst, seconds(9), false}, FlushRequests{}));
  EXPECT_THAT(machine_.OnBye(first, kSecond, kLater), Are(PeerGone{}));
  EXPECT_EQ(machine_.state(), State::kActive);
  EXPECT_EQ(machine_.peer_instance(), kSecond);
}

TEST_F(NodeMachineTest, ANewInstanceBesideAPeerThatIsBehindMeansThatThePrimaryIsGone) {
  const SessionId first = WakeStalePeer();
  const SessionId second = machine_.session();
  EXPECT_THAT(
      machine_.OnPong(second, kThird, kLater, kLater),
      Are(DeclareLost{kFirst, seconds(9)}, PeerGone{}, UseInstance{kSecond, Duration(0), false},
          PeerReady{kThird, true}, FlushRequests{}));
  EXPECT_EQ(machine_.state(), State::kActive);
  EXPECT_EQ(machine_.session(), first);
  EXPECT_EQ(machine_.peer_session(), second);
  EXPECT_EQ(machine_.peer_instance(), kThird);
}

TEST_F(NodeMachineTest, APeerThatSleepsAgainWhenThePrimaryIsFoundGoneIsWoken) {
  const SessionId first = WakeStalePeer();
  EXPECT_THAT(machine_.OnBye(first, kSecond, kLater), Are(PeerGone{}));
  const Actions actions = machine_.OnPong(machine_.session(), kThird, kLater, kLater);
  EXPECT_THAT(actions,
              Are(DeclareLost{kFirst, seconds(9)}, UseInstance{kSecond, Duration(0), false},
                  PeerReady{kThird, true}, Invoke{machine_.session()}));
  EXPECT_THAT(machine_.OnPong(machine_.session(), kSecond, kLater, kLater),
              Are(UseInstance{kSecond, Duration(0), false}, FlushRequests{}));
}

TEST_F(NodeMachineTest, APeerWhosePromiseIsOverIsAskedBeforeItTakesRequests) {
  const SessionId first = WakeStalePeer();
  const TimePoint late = kLater + seconds(2);
  const Actions actions = machine_.OnPong(machine_.session(), kThird, late, late);
  EXPECT_EQ(actions.back(), Action(SendPreflight{first}));
  EXPECT_EQ(machine_.queued(), 1U);
  EXPECT_THAT(machine_.OnPong(first, kSecond, late + seconds(1), late), Are(FlushRequests{}));
}

TEST_F(NodeMachineTest, ThePeerTakesOverIfNobodyAnswersTheLookInTime) {
  WakeStalePeer();
  const SessionId second = machine_.session();
  const TimePoint deadline = kLater + options_.look_patience;
  EXPECT_EQ(machine_.NextTick(), deadline);
  EXPECT_THAT(machine_.OnTick(deadline - Duration(1)), IsEmpty());
  const Actions actions = machine_.OnTick(deadline);
  EXPECT_THAT(actions, Are(PeerGone{}, UseInstance{kSecond, Duration(0), false},
                           SendPreflight{machine_.session()}));
  // The primary was only slow: it is the peer now, and not declared lost.
  EXPECT_THAT(machine_.OnPong(second, kFirst, deadline, deadline),
              Are(PeerReady{kFirst, false, deadline - kNow}));
  EXPECT_EQ(machine_.instance(), kSecond);
}

TEST_F(NodeMachineTest, APeerWhoseSessionIsOverDoesNotTakeOverFromASlowPrimary) {
  const SessionId first = WakeStalePeer();
  (void)machine_.OnBye(first, kSecond, kLater);
  EXPECT_THAT(machine_.OnTick(kLater + options_.look_patience), IsEmpty());
  EXPECT_THAT(machine_.OnTick(kLater - seconds(1) + options_.wake_deadline), Are(FailWaiters{}));
  const TimePoint late = kLater + minutes(1);
  EXPECT_THAT(machine_.OnPong(machine_.session(), kFirst, late, late),
              Are(UseInstance{kFirst, seconds(69), false}));
}

TEST_F(NodeMachineTest, ThePeerTakesOverIfItIsWokenAgainAndAgain) {
  WakeStalePeer();
  for (int look = 1; look < NodeMachine::kLooksMax; ++look) {
    const SessionId session = machine_.session();
    const Actions actions = machine_.OnPong(session, kSecond, kLater, kLater);
    EXPECT_THAT(actions, Are(PeerGone{}, PeerReady{kSecond, false}, Invoke{machine_.session()}));
  }
  EXPECT_THAT(machine_.OnPong(machine_.session(), kSecond, kLater, kLater),
              Are(PeerGone{}, UseInstance{kSecond, Duration(0), false}, FlushRequests{}));
  EXPECT_EQ(machine_.peer_instance(), kFirst);
}

TEST_F(NodeMachineTest, AFailedLookIsRepeatedAfterTheBackOff) {
  WakeStalePeer();
  const Actions failed = machine_.OnInvokeFailed(machine_.session(), kNone, kLater);
  const TimePoint retry = std::get<BackOff>(failed.at(0)).until;
  const Actions again = machine_.OnTick(retry);
  EXPECT_THAT(again, Are(Invoke{machine_.session()}));
  EXPECT_THAT(machine_.OnPong(machine_.session(), kFirst, retry, retry),
              Are(UseInstance{kFirst, retry - kNow, false}, FlushRequests{}));
}

TEST_F(NodeMachineTest, AWarmUpThatFindsAPeerThatIsBehindLooksForThePrimaryToo) {
  const SessionId session = ActivateWithPeer();
  machine_.OnRequestAnswered();
  (void)machine_.OnBye(session, kFirst, kNow);
  (void)machine_.OnWarmUpDue(kLater);
  const Actions actions = machine_.OnPong(machine_.session(), kSecond, kLater, kLater);
  EXPECT_THAT(actions, Are(PeerReady{kSecond, false, seconds(9)},
                           Invoke{machine_.session(), Purpose::kWarmUp}));
}

TEST_F(NodeMachineTest, WhereThePlatformSaysThatThePrimaryIsGoneNobodyLooksForIt) {
  const SessionId session = ActivateWithPeer();
  machine_.OnRequestAnswered();
  (void)machine_.OnBye(session, kFirst, kNow);
  EXPECT_THAT(machine_.OnInstanceGone(kFirst, kNow), Are(DeclareLost{kFirst, Duration(0)}));
  (void)machine_.OnDemand(kLater);
  EXPECT_THAT(machine_.OnPong(machine_.session(), kSecond, kLater, kLater),
              Are(UseInstance{kSecond, seconds(9), false}, FlushRequests{}));
}

TEST_F(NodeMachineTest, APeerInSessionTakesOverFromAPrimaryThatIsFoundGone) {
  const SessionId session = Activate(kFirst);
  machine_.OnRequestAnswered();
  (void)machine_.OnPeerDemand(kNow);
  const SessionId peer = machine_.peer_session();
  (void)machine_.OnPong(peer, kSecond, kNow + seconds(1), kNow);
  EXPECT_THAT(machine_.OnPeerDemand(kNow), Are(PeerReady{kSecond, false})) << "it is there";
  (void)machine_.OnInvokeSucceeded(session, kFirst, kNow);
  (void)machine_.OnDemand(kNow);
  EXPECT_THAT(
      machine_.OnPong(machine_.session(), kThird, kNow, kNow),
      Are(DeclareLost{kFirst, Duration(0)}, PeerGone{}, UseInstance{kSecond, Duration(0), false},
          PeerReady{kThird, true}, FlushRequests{}));
  EXPECT_EQ(machine_.session(), peer);
}

TEST_F(NodeMachineTest, APeerThatWasInSessionWhenAnUnseenInstanceStartedTakesOver) {
  const SessionId session = Activate(kFirst);
  machine_.OnRequestAnswered();
  (void)machine_.OnPeerDemand(kNow);
  const SessionId peer = machine_.peer_session();
  (void)machine_.OnPong(peer, kSecond, kNow, kNow);
  (void)machine_.OnBye(session, kFirst, kNow);
  // kThird starts, and returns before its PONG arrives; then the peer falls asleep.
  (void)machine_.OnInvokeSucceeded(Wake(), kThird, kNow);
  (void)machine_.OnBye(peer, kSecond, kNow);
  (void)machine_.OnTick(machine_.NextTick());
  (void)machine_.OnPong(machine_.session(), kThird, kNow, kNow);
  EXPECT_EQ(machine_.instance(), kSecond);
  EXPECT_EQ(machine_.peer_instance(), kThird);
}

TEST_F(NodeMachineTest, ANewPeerReplacesALostOne) {
  ActivateWithPeer();
  (void)machine_.OnPeerDemand(kNow);
  EXPECT_THAT(machine_.OnPong(machine_.peer_session(), kThird, kNow, kNow + seconds(2)),
              Are(DeclareLost{kSecond, seconds(2)}, PeerReady{kThird, true}));
}

TEST_F(NodeMachineTest, ThePrimaryWokenForItsOwnBackupIsInSessionAgain) {
  const SessionId session = Activate(kFirst);
  (void)machine_.OnPeerDemand(kNow);
  const SessionId peer = machine_.peer_session();
  // The first session's BYE is under way; the request that it crossed is sent again.
  EXPECT_THAT(machine_.OnPong(peer, kFirst, kNow + seconds(1), kNow),
              Are(RequeueUnanswered{}, PeerGone{}, UseInstance{kFirst, Duration(0), false},
                  FlushRequests{}));
  EXPECT_EQ(machine_.session(), peer);
  EXPECT_EQ(machine_.peer_session(), SessionId());
  EXPECT_THAT(machine_.OnBye(session, kFirst, kNow), IsEmpty());
  EXPECT_EQ(machine_.state(), State::kActive);
}

TEST_F(NodeMachineTest, APrimaryAsleepIsNotInvokedWhileItMayBeTheOneThatTheBackupWakes) {
  const SessionId session = Activate(kFirst);
  (void)machine_.OnPeerDemand(kNow);
  const SessionId peer = machine_.peer_session();
  EXPECT_THAT(machine_.OnBye(session, kFirst, kNow), Are(RequeueUnanswered{}));
  EXPECT_THAT(machine_.OnDemand(kNow), IsEmpty());
  EXPECT_THAT(machine_.OnWarmUpDue(kNow), IsEmpty());
  EXPECT_EQ(machine_.NextTick(), kNow + options_.wake_deadline);
  // Another one woke: now the primary is idle, if it lives.
  const Actions actions = machine_.OnPong(peer, kSecond, kNow, kNow);
  EXPECT_THAT(actions, Are(PeerReady{kSecond, true}, Invoke{machine_.session()}));
}

TEST_F(NodeMachineTest, WaitersForAPendingBackupFailAtTheirDeadline) {
  const SessionId session = Activate(kFirst);
  (void)machine_.OnPeerDemand(kNow);
  const SessionId peer = machine_.peer_session();
  (void)machine_.OnBye(session, kFirst, kNow);
  const TimePoint deadline = kNow + options_.wake_deadline;
  EXPECT_THAT(machine_.OnTick(deadline), Are(FailWaiters{}));
  EXPECT_THAT(machine_.OnDemand(deadline), Are(FailWaiters{}));
  EXPECT_THAT(machine_.OnInvokeRefused(peer, deadline), Are(PeerGone{}));
  const Actions actions = machine_.OnDemand(deadline);
  EXPECT_THAT(actions, Are(Invoke{machine_.session()}));
}

TEST_F(NodeMachineTest, APeersSessionWithoutAnEndIsOverAfterThePlatformsLongest) {
  const SessionId session = Activate();
  (void)machine_.OnPeerDemand(kNow + seconds(1));
  machine_.OnRequestAnswered();
  (void)machine_.OnBye(session, kFirst, kNow + seconds(2));
  const TimePoint deadline = machine_.NextTick();
  EXPECT_THAT(machine_.OnTick(deadline), Are(PeerGone{}));
  EXPECT_EQ(machine_.peer_session(), SessionId());
}

TEST_F(NodeMachineTest, TwoMachinesMakeDifferentSessionIds) {
  NodeMachine other(options_, kSeed + 1);
  (void)other.OnDemand(kNow);
  EXPECT_NE(Wake(), other.session());
}

}  // namespace
}  // namespace infinicache::policy
