#include "policy/reclaim_schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>

namespace infinicache::policy {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Kind = ReclaimModel::Kind;

constexpr TimePoint kStart{};

// The only instance of a node.
ReclaimSchedule::Taken Only(std::uint32_t node) {
  return {NodeId(node), InstanceId(1)};
}

ReclaimSchedule WithNodes(ReclaimModel model, std::uint32_t nodes, std::uint64_t seed = 1) {
  ReclaimSchedule schedule(std::move(model), seed, kStart);
  for (std::uint32_t i = 0; i < nodes; ++i) schedule.InstanceStarted(Only(i), kStart);
  return schedule;
}

TEST(ReclaimSchedule, NoneNeverReclaims) {
  ReclaimSchedule schedule = WithNodes({}, 3);
  EXPECT_EQ(schedule.Next(), TimePoint::max());
  EXPECT_THAT(schedule.Due(kStart + hours(1000)), IsEmpty());
}

TEST(ReclaimSchedule, MaxLifeEndsEachInstanceAtItsAge) {
  ReclaimSchedule schedule({Kind::kMaxLife, 1, minutes(10), {}}, 1, kStart);
  EXPECT_EQ(schedule.Next(), TimePoint::max());
  schedule.InstanceStarted(Only(7), kStart + minutes(2));
  schedule.InstanceStarted(Only(3), kStart + minutes(1));
  EXPECT_EQ(schedule.Next(), kStart + minutes(11));
  EXPECT_THAT(schedule.Due(kStart + minutes(11) - seconds(1)), IsEmpty());
  EXPECT_THAT(schedule.Due(kStart + minutes(11)), ElementsAre(Only(3)));
  EXPECT_EQ(schedule.Next(), kStart + minutes(12));
  // A new instance of the same node has a life of its own.
  schedule.InstanceStarted(Only(3), kStart + minutes(12));
  EXPECT_THAT(schedule.Due(kStart + minutes(20)), ElementsAre(Only(7)));
  EXPECT_EQ(schedule.Next(), kStart + minutes(22));
}

TEST(ReclaimSchedule, AnInstanceThatEndedByItselfIsNotReclaimed) {
  ReclaimSchedule schedule = WithNodes({Kind::kMaxLife, 1, minutes(10), {}}, 2);
  schedule.InstanceEnded(Only(0));
  EXPECT_THAT(schedule.Due(kStart + hours(1)), ElementsAre(Only(1)));
}

TEST(ReclaimSchedule, AnInstanceThatIsIdleIsTakenThoughAnotherOfItsNodeIsBusy) {
  ReclaimSchedule schedule({Kind::kIdle, 1, minutes(10), {}}, 1, kStart);
  const ReclaimSchedule::Taken used{NodeId(3), InstanceId(1)};
  const ReclaimSchedule::Taken surplus{NodeId(3), InstanceId(2)};
  for (const auto& instance : {used, surplus}) {
    schedule.InstanceStarted(instance, kStart);
    schedule.InstanceIdle(instance, kStart + minutes(1));
  }
  schedule.InstanceBusy(used);
  EXPECT_THAT(schedule.Due(kStart + minutes(11)), ElementsAre(surplus));
  schedule.InstanceIdle(used, kStart + minutes(12));
  EXPECT_EQ(schedule.Next(), kStart + minutes(22));
}

TEST(ReclaimSchedule, AReplayTakesTheOldestInstanceOfANode) {
  ReclaimSchedule schedule({Kind::kReplay, 1, Duration(0), {{minutes(5), NodeId(3)}}}, 1, kStart);
  const ReclaimSchedule::Taken younger{NodeId(3), InstanceId(1)};
  const ReclaimSchedule::Taken older{NodeId(3), InstanceId(2)};
  schedule.InstanceStarted(older, kStart + seconds(1));
  schedule.InstanceStarted(younger, kStart + seconds(2));
  schedule.InstanceStarted(Only(1), kStart);
  EXPECT_THAT(schedule.Due(kStart + minutes(5)), ElementsAre(older));
}

TEST(ReclaimSchedule, SpikesTakeDistinctInstancesAtOnceEveryInterval) {
  ReclaimSchedule schedule = WithNodes({Kind::kSpikes, 3, minutes(5), {}}, 10);
  EXPECT_THAT(schedule.Due(kStart + minutes(5) - seconds(1)), IsEmpty());
  const auto first = schedule.Due(kStart + minutes(5));
  EXPECT_THAT(std::set<ReclaimSchedule::Taken>(first.begin(), first.end()), SizeIs(3));
  EXPECT_EQ(schedule.Next(), kStart + minutes(10));
  EXPECT_THAT(schedule.Due(kStart + minutes(10)), SizeIs(3));
}

TEST(ReclaimSchedule, ASpikeTakesNoMoreThanWhatLives) {
  ReclaimSchedule schedule = WithNodes({Kind::kSpikes, 5, minutes(5), {}}, 2);
  EXPECT_THAT(schedule.Due(kStart + minutes(5)), SizeIs(2));
  EXPECT_THAT(schedule.Due(kStart + minutes(10)), IsEmpty());
}

TEST(ReclaimSchedule, ReplayTakesTheNodesThatItNames) {
  ReclaimSchedule schedule = WithNodes({Kind::kReplay,
                                        1,
                                        Duration(0),
                                        {{seconds(1), NodeId(2)},
                                         {seconds(1), NodeId(0)},
                                         {seconds(4), NodeId(9)},
                                         {seconds(6), NodeId(1)}}},
                                       3);
  EXPECT_EQ(schedule.Next(), kStart + seconds(1));
  EXPECT_THAT(schedule.Due(kStart + seconds(1)), ElementsAre(Only(2), Only(0)));
  // Node 9 has no instance: nothing happens.
  EXPECT_THAT(schedule.Due(kStart + seconds(5)), IsEmpty());
  EXPECT_THAT(schedule.Due(kStart + seconds(6)), ElementsAre(Only(1)));
  EXPECT_EQ(schedule.Next(), TimePoint::max());
}

TEST(ReclaimSchedule, PoissonReclaimsAtTheRateThatIsAsked) {
  constexpr std::uint64_t kSeed = 20;
  SCOPED_TRACE(kSeed);
  ReclaimSchedule schedule({Kind::kPoisson, 36, hours(1), {}}, kSeed, kStart);
  std::size_t reclaims = 0;
  std::size_t empty_minutes = 0;
  for (int minute = 1; minute <= 6000; ++minute) {
    for (std::uint32_t i = 0; i < 100; ++i)
      schedule.InstanceStarted(Only(i), kStart + minutes(minute - 1));
    const std::size_t due = schedule.Due(kStart + minutes(minute)).size();
    reclaims += due;
    empty_minutes += due == 0 ? 1 : 0;
  }
  // 100 hours: 3600 expected, standard deviation 60. A minute is empty with probability e^-0.6.
  EXPECT_NEAR(static_cast<double>(reclaims), 3600, 240);
  EXPECT_NEAR(static_cast<double>(empty_minutes) / 6000, 0.549, 0.03);
}

TEST(ReclaimSchedule, DrawnReclaimsHitEveryNodeAlikeAndFollowTheSeed) {
  std::map<NodeId, int> hits;
  std::vector<NodeId> order;
  std::vector<NodeId> again;
  for (auto* out : {&order, &again}) {
    ReclaimSchedule schedule({Kind::kSpikes, 1, seconds(1), {}}, 5, kStart);
    for (int second = 1; second <= 4000; ++second) {
      for (std::uint32_t i = 0; i < 4; ++i) schedule.InstanceStarted(Only(i), kStart);
      for (const auto& taken : schedule.Due(kStart + seconds(second))) out->push_back(taken.node);
    }
  }
  EXPECT_EQ(order, again);
  for (const NodeId node : order) ++hits[node];
  for (const auto& [node, count] : hits) EXPECT_NEAR(count, 1000, 150) << node.value();
}

TEST(ReclaimSchedule, WhatWasDueWhileNobodyAskedIsMadeUpFor) {
  ReclaimSchedule schedule = WithNodes({Kind::kSpikes, 1, seconds(1), {}}, 10);
  EXPECT_THAT(schedule.Due(kStart + seconds(4)), SizeIs(4));
  EXPECT_EQ(schedule.Next(), kStart + seconds(5));
}

}  // namespace
}  // namespace infinicache::policy
