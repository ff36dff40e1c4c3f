#include "cache/repairer.h"

#include <gtest/gtest.h>

#include <string>

#include "cache/cluster_for_test.h"

namespace infinicache::cache {
namespace {

class RepairerTest : public testing::TestWithParam<std::uint64_t> {};

TEST_P(RepairerTest, RecreatesEveryChunkOfAnEndedInstanceOnAnotherNode) {
  ClusterForTest cluster;
  const std::string value = ContentForTest(GetParam(), GetParam());
  const ObjectRef object = cluster.Put("key", value);
  for (std::size_t i = 0; i < object->width(); ++i) {
    cluster.Kill(object->place(i).node);
    cluster.RunUntil([&] { return cluster.worker().IsWhole(*object); });
    cluster.RunUntil([&] { return cluster.worker().links().connected() == 14; });
    EXPECT_TRUE(cluster.Read(object).bytes == value) << "chunk " << i;
  }
  cluster.RunUntil([&] { return cluster.stats().chunks_repaired == object->width(); });
  EXPECT_EQ(cluster.stats().gone.Lost(), 0U);
  EXPECT_EQ(cluster.ChunksOnNodes(), object->width());
}

INSTANTIATE_TEST_SUITE_P(Sizes, RepairerTest, testing::Values(0, 100, 300'001, 5'000'000));

TEST(Repairer, ALossDuringARepairIsRepairedToo) {
  ClusterForTest cluster;
  const std::string value = ContentForTest(1, 20'000'000);
  const ObjectRef object = cluster.Put("key", value);
  cluster.Kill(object->place(1).node);
  cluster.RunUntil([&] { return cluster.stats().repair_bytes > 0; });
  ASSERT_TRUE(object->repair_pending);
  cluster.Kill(object->place(11).node);
  cluster.RunUntil([&] { return cluster.worker().IsWhole(*object); });
  EXPECT_TRUE(cluster.Read(object).bytes == value);
  cluster.RunUntil([&] { return cluster.stats().chunks_repaired >= 2; });
}

TEST(Repairer, AnObjectIsQueuedOnceAndAWholeOneIsLeftAlone) {
  ClusterForTest cluster;
  const ObjectRef object = cluster.Put("key", ContentForTest(1, 300'000));
  RepairQueue& queue = *cluster.cache().shared().repairs;
  for (int i = 0; i < 3; ++i) queue.Add(object);
  EXPECT_EQ(cluster.cache().repairs_queued(), 1U);
  cluster.RunUntil([&] { return !object->repair_pending; });
  EXPECT_EQ(cluster.stats().chunks_repaired, 0U);
  EXPECT_EQ(cluster.stats().repairs_failed, 0U);
}

TEST(Repairer, WhatWasOverwrittenIsNotRepairedAndLeavesNothing) {
  ClusterForTest cluster;
  ObjectRef object = cluster.Put("key", ContentForTest(1, 20'000'000));
  cluster.Kill(object->place(0).node);
  cluster.RunUntil([&] { return cluster.stats().repair_bytes > 0; });
  cluster.Put("key", "new");
  object.reset();
  cluster.RunUntil([&] { return cluster.ChunksOnNodes() == 3; });
  cluster.directory().Clear();
  cluster.AwaitNothingLeft();
  EXPECT_EQ(cluster.stats().gone.Lost(), 0U);
}

TEST(Repairer, AnObjectWithTooFewChunksLeftIsCountedAsOneLoss) {
  ClusterForTest cluster;
  cluster.platform().reviving = false;
  const ObjectRef object = cluster.Put("key", ContentForTest(1, 300'000));
  for (std::size_t i = 0; i < 3; ++i) cluster.Kill(object->place(i).node);
  cluster.RunUntil([&] { return cluster.directory().size() == 0; });
  EXPECT_EQ(cluster.stats().gone.Lost(), 1U);
  EXPECT_EQ(cluster.stats().chunks_repaired, 0U);
}

TEST(Repairer, TriesAgainWhenThereIsANodeAgain) {
  ClusterForTest::Options options;
  options.nodes = 12;
  ClusterForTest cluster(options);
  const ObjectRef object = cluster.Put("key", ContentForTest(1, 2'000'000));
  cluster.Kill(object->place(5).node);
  cluster.RunUntil([&] { return cluster.stats().repairs_failed == 1; });
  cluster.RunUntil([&] { return cluster.worker().IsWhole(*object); });
  cluster.RunUntil([&] { return cluster.stats().chunks_repaired == 1; });
}

}  // namespace
}  // namespace infinicache::cache
