#include "cache/reclaim_queue.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "cache/cluster_for_test.h"

namespace infinicache::cache {
namespace {

class ReclaimQueueTest : public testing::Test {
 protected:
  ReclaimQueueTest() : cluster_(Options()) {}

  // Node 3 stops when told to.
  static ClusterForTest::Options Options() {
    ClusterForTest::Options options;
    options.nodes = 6;
    options.apart = {3};
    options.cache.code = {4, 2};
    options.cache.repair = false;
    return options;
  }
  ChunkReclaimer& queue() { return *cluster_.cache().shared().reclaimer; }

  ClusterForTest cluster_;
};

TEST_F(ReclaimQueueTest, GathersForAWhileAndSendsOneRequestPerNode) {
  constexpr std::size_t kObjects = 50;
  for (std::size_t i = 0; i < kObjects; ++i)
    cluster_.Put("key" + std::to_string(i), ContentForTest(i, 200'000));
  EXPECT_EQ(cluster_.ChunksOnNodes(), 6 * kObjects);
  cluster_.Stall(true);
  const TimePoint begin = net::EventLoop::Now();
  cluster_.directory().Clear();
  EXPECT_EQ(queue().pending(), 6 * kObjects);
  cluster_.RunUntil([&] { return cluster_.OpenRequests() > 0; });
  EXPECT_GE(net::EventLoop::Now() - begin, ReclaimQueue::kGatherFor);
  cluster_.RunUntil([&] { return queue().pending() == kObjects; });
  EXPECT_EQ(cluster_.OpenRequests(), 1U) << "one for all chunks of the stopped node";
  cluster_.Stall(false);
  cluster_.AwaitNothingLeft();
}

TEST_F(ReclaimQueueTest, FlushSendsNow) {
  cluster_.Put("key", ContentForTest(1, 200'000));
  cluster_.directory().Clear();
  EXPECT_EQ(queue().pending(), 6U);
  EXPECT_EQ(cluster_.OpenRequests(), 0U);
  queue().Flush();
  net::RunReady(cluster_.loop());  // runs no timer that is not due
  EXPECT_GT(cluster_.OpenRequests(), 0U);
  cluster_.AwaitNothingLeft();
}

TEST_F(ReclaimQueueTest, ChunksOfAnEndedInstanceAreForgotten) {
  ObjectRef object = cluster_.Put("key", ContentForTest(1, 200'000));
  cluster_.platform().reviving = false;
  for (std::size_t i = 0; i < 6; ++i) cluster_.Kill(object->place(i).node);
  cluster_.directory().Clear();
  object.reset();
  EXPECT_EQ(queue().pending(), 6U);
  cluster_.RunUntil([&] { return queue().pending() == 0; });
}

TEST_F(ReclaimQueueTest, WhatWasNotAnsweredWhenALinkBrokeIsTriedAgain) {
  cluster_.Put("key", ContentForTest(1, 200'000));
  cluster_.Stall(true);
  cluster_.directory().Clear();
  cluster_.RunUntil([&] { return queue().pending() == 1 && cluster_.OpenRequests() == 1; });
  cluster_.CutLink(NodeId(3));
  cluster_.RunUntil([&] { return cluster_.OpenRequests() == 0; });
  EXPECT_EQ(queue().pending(), 1U);
  cluster_.Stall(false);
  cluster_.RunUntil([&] { return queue().pending() == 0; });
  EXPECT_EQ(cluster_.ChunksOnNodes(), 0U);
}

TEST_F(ReclaimQueueTest, ExpiriesReachEveryChunkInTheOrderOfTheirChanges) {
  const ObjectRef object = cluster_.Put("key", ContentForTest(1, 200'000));
  EXPECT_EQ(cluster_.ExpiriesOnNodes("key"), std::vector<WallMillis>(6, 0));
  const WallMillis later = cluster_.clock().WallNow() + 60'000;
  EXPECT_TRUE(cluster_.worker().SetExpiry(object, later));
  cluster_.RunUntil(
      [&] { return cluster_.ExpiriesOnNodes("key") == std::vector<WallMillis>(6, later); });
  EXPECT_TRUE(cluster_.worker().SetExpiry(object, later + 1));
  EXPECT_TRUE(cluster_.worker().SetExpiry(object, ObjectRecord::kNever));
  cluster_.RunUntil(
      [&] { return cluster_.ExpiriesOnNodes("key") == std::vector<WallMillis>(6, 0); });
  EXPECT_EQ(queue().pending(), 0U) << "nothing is to be freed";
}

TEST_F(ReclaimQueueTest, NothingOfAVersionIsSentBeforeTheOlderOneIsAnsweredFor) {
  cluster_.Put("key", ContentForTest(1, 200'000));
  cluster_.Stall(true);
  cluster_.worker().links().at(NodeId(3)).Suspect();  // no chunk of the next one goes there
  cluster_.Put("key", "second");
  cluster_.RunUntil([&] { return queue().pending() == 1; });
  const std::uint64_t chunks = cluster_.ChunksOnNodes();
  cluster_.directory().Clear();
  const TimePoint begin = net::EventLoop::Now();
  cluster_.RunUntil([&] { return net::EventLoop::Now() - begin > 5 * ReclaimQueue::kGatherFor; });
  EXPECT_EQ(queue().pending(), 4U);
  EXPECT_EQ(cluster_.ChunksOnNodes(), chunks) << "the first version waits for node 3";
  cluster_.Stall(false);
  cluster_.AwaitNothingLeft();
}

TEST_F(ReclaimQueueTest, MoreChunksThanABatchHoldsAreAllFreed) {
  const pool::Place place{NodeId(0), cluster_.worker().links().at(NodeId(0)).epoch()};
  constexpr std::size_t kChunks = 2 * kDeleteBatch + 1;
  for (std::size_t i = 0; i < kChunks; ++i) queue().Reclaim(place, {ObjectId(i), Version(1), 0});
  EXPECT_EQ(queue().pending(), kChunks);
  cluster_.RunUntil([&] { return queue().pending() == 0; });
}

// --- Nodes that sleep ---------------------------------------------------------------------------

class SleepingReclaimTest : public testing::Test {
 protected:
  SleepingReclaimTest() : cluster_(Options()) {
    cluster_.Put("key", ContentForTest(1, 800'000));
    cluster_.AwaitSleep();
    invoked_ = Read(cluster_.pool().stats().invocations);
  }

  static ClusterForTest::Options Options() {
    ClusterForTest::Options options;
    options.nodes = 6;
    options.cache.code = {4, 2};
    options.cache.repair = false;
    options.sleeping = true;
    return options;
  }
  ChunkReclaimer& queue() { return *cluster_.cache().shared().reclaimer; }
  std::uint64_t woken() { return Read(cluster_.pool().stats().invocations) - invoked_; }
  // Longer than things to be freed are gathered.
  void Pass() { cluster_.Run(net::WithValue(cluster_.loop().Sleep(3 * ReclaimQueue::kGatherFor))); }

  ClusterForTest cluster_;
  std::uint64_t invoked_ = 0;
};

TEST_F(SleepingReclaimTest, ANodeIsNotWokenOnlyToFreeAChunk) {
  cluster_.directory().Clear();
  Pass();
  EXPECT_EQ(queue().pending(), 6U);
  EXPECT_EQ(woken(), 0U);
}

TEST_F(SleepingReclaimTest, ChunksAreFreedWhenTheirNodesAreWokenForOthers) {
  cluster_.directory().Clear();
  Pass();
  cluster_.Put("other", ContentForTest(2, 800'000));
  cluster_.RunUntil([&] { return queue().pending() == 0; });
  EXPECT_EQ(cluster_.ChunksOnNodes(), 6U);
}

TEST_F(SleepingReclaimTest, FlushWakesTheNodes) {
  cluster_.directory().Clear();
  Pass();
  queue().Flush();
  cluster_.AwaitNothingLeft();
  EXPECT_EQ(woken(), 6U);
}

TEST_F(SleepingReclaimTest, FlushReachesAVersionThatWaitsForAnOlderOne) {
  const ObjectRef old = cluster_.directory().Find("key");
  cluster_.Put("key", ContentForTest(2, 800'000));
  cluster_.AwaitSleep();
  for (std::size_t i = 0; i < old->width(); ++i) queue().Reclaim(old->place(i), old->chunk(i));
  Pass();
  cluster_.directory().Clear();
  Pass();
  EXPECT_EQ(queue().pending(), 12U);
  queue().Flush();
  cluster_.RunUntil([&] { return queue().pending() == 0; });
}

TEST_F(SleepingReclaimTest, AChangeOfExpiryWakesTheNodesAndWhatItWaitsForToo) {
  const ObjectRef old = cluster_.directory().Find("key");
  const ObjectRef object = cluster_.Put("key", ContentForTest(2, 800'000));
  cluster_.AwaitSleep();
  for (std::size_t i = 0; i < old->width(); ++i) queue().Reclaim(old->place(i), old->chunk(i));
  Pass();
  cluster_.worker().SetExpiry(object, WallMillis(cluster_.clock().WallNow() + 1'000'000));
  cluster_.RunUntil([&] { return queue().pending() == 0; });
}

TEST_F(SleepingReclaimTest, AReadFromNodesThatSleepWakesThoseThatItNeeds) {
  const ObjectRef object = cluster_.directory().Find("key");
  EXPECT_TRUE(cluster_.Read(object).bytes == ContentForTest(1, 800'000));
  cluster_.AwaitSleep();
  EXPECT_EQ(woken(), 4U);
}

}  // namespace
}  // namespace infinicache::cache
