#include "cache/room_claim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "cache/cluster_for_test.h"

namespace infinicache::cache {
namespace {

ClusterForTest::Options SmallNodes(
    policy::EvictionPolicy policy = policy::EvictionPolicy::kS3Fifo) {
  ClusterForTest::Options options;
  options.node_bytes = 4 * kMiB;
  options.cache.eviction = policy;
  return options;
}

std::string KeyOf(std::size_t number) {
  return "key" + std::to_string(number);
}

void ExpectNodesWithinLimits(ClusterForTest& cluster) {
  cluster.RunUntil([&] { return !cluster.worker().keeping_room(); });
  for (const pool::NodeShared& node : cluster.pool().shared()) {
    EXPECT_LE(node.bytes_used, node.bytes_limit);
    EXPECT_EQ(node.bytes_reserved, 0U);
    EXPECT_EQ(node.bytes_freeing, 0U);
  }
}

class Eviction : public ::testing::TestWithParam<policy::EvictionPolicy> {};

INSTANTIATE_TEST_SUITE_P(Policies, Eviction,
                         ::testing::Values(policy::EvictionPolicy::kClock,
                                           policy::EvictionPolicy::kS3Fifo),
                         [](const auto& info) {
                           return info.param == policy::EvictionPolicy::kClock ? "Clock" : "S3Fifo";
                         });

TEST_P(Eviction, EveryWriteSucceedsWhateverItsSizeAndNoReadIsWrong) {
  constexpr std::uint64_t kSeed = 11;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  ClusterForTest cluster(SmallNodes(GetParam()));
  Random random(kSeed);
  std::map<std::string, std::string> written;
  std::uint64_t bytes = 0;
  // Three times what the nodes hold.
  for (std::size_t i = 0; bytes < 3 * 14 * 4 * kMiB; ++i) {
    const std::string value = ContentForTest(i, 1 + random.Below(i % 3 == 0 ? 6'000'000 : 200'000));
    const auto object = cluster.TryPut(KeyOf(i % 400), value);
    ASSERT_TRUE(object) << i << ": " << object.error().message;
    ASSERT_TRUE(cluster.worker().IsWhole(**object)) << i << " was stored in part";
    bytes += value.size();
    written[KeyOf(i % 400)] = value;
  }
  EXPECT_GT(cluster.stats().gone.Objects(GoneCause::kEvicted), 0U);
  EXPECT_GT(cluster.stats().gone.Bytes(GoneCause::kEvicted), 0U);
  EXPECT_EQ(cluster.stats().gone.Lost(), 0U);
  ExpectNodesWithinLimits(cluster);
  EXPECT_EQ(cluster.cache().shared().evictor.size(), cluster.directory().size());
  for (const auto& [key, value] : written) {
    if (const ObjectRef object = cluster.directory().Find(key); object != nullptr)
      EXPECT_TRUE(cluster.Read(object).bytes == value) << key;
  }
  // What is stored is most of what there is room for.
  EXPECT_GT(cluster.BytesOnNodes(), 14 * 4 * kMiB * 7 / 10);
  cluster.directory().Clear();
  cluster.AwaitNothingLeft();
}

TEST_P(Eviction, WhatIsUsedSurvivesWhatIsNot) {
  ClusterForTest cluster(SmallNodes(GetParam()));
  const std::string value = ContentForTest(1, 1'500'000);
  for (std::size_t i = 0; i < 120; ++i) {
    cluster.Put(KeyOf(i), value);
    for (std::size_t hot = 0; hot < 5; ++hot) {
      if (const ObjectRef object = cluster.directory().Find(KeyOf(hot)); object != nullptr)
        object->Touch();
    }
  }
  ASSERT_LT(cluster.directory().size(), 60U);
  for (std::size_t hot = 0; hot < 5; ++hot)
    EXPECT_NE(cluster.directory().Find(KeyOf(hot)), nullptr) << hot;
  EXPECT_EQ(cluster.directory().Find(KeyOf(5)), nullptr);
}

TEST(RoomClaim, ExpiredObjectsGoFirst) {
  ClusterForTest cluster(SmallNodes());
  const std::string value = ContentForTest(1, 10'000'000);
  for (std::size_t i = 0; i < 3; ++i) {
    auto object = cluster.Run(WriteObject(cluster.worker(), KeyOf(i), value));
    ASSERT_TRUE(object);
    if (i == 1) (*object)->set_expires_at(cluster.clock().WallNow() + 10);
    cluster.worker().Commit(*object, Directory::Condition::kAlways, false);
  }
  cluster.clock().Advance(std::chrono::milliseconds(20));
  // One or two more fit beside the three; the others take the place of the expired one.
  for (std::size_t i = 3; cluster.stats().gone.Objects(GoneCause::kExpired) == 0; ++i)
    cluster.Put(KeyOf(i), value);
  EXPECT_EQ(cluster.stats().gone.Objects(GoneCause::kEvicted), 0U);
  EXPECT_NE(cluster.directory().Find(KeyOf(0)), nullptr);
  EXPECT_EQ(cluster.directory().Find(KeyOf(1)), nullptr);
}

TEST(RoomClaim, AReaderOfAVictimFinishesIt) {
  ClusterForTest cluster(SmallNodes());
  const std::string value = ContentForTest(1, 10'000'000);
  std::vector<ObjectRef> reading;
  while (cluster.stats().gone.Objects(GoneCause::kEvicted) == 0) {
    ASSERT_LT(reading.size(), 10U);
    const auto object = cluster.TryPut(KeyOf(reading.size()), value);
    if (!object) {
      EXPECT_EQ(object.error().code, ErrorCode::kOutOfMemory);
      break;
    }
    reading.push_back(*object);
  }
  // All are read, so that a victim gives nothing back: it is readable still, and no more went than
  // the write needed.
  EXPECT_GT(cluster.stats().gone.Objects(GoneCause::kEvicted), 0U);
  EXPECT_LE(cluster.stats().gone.Objects(GoneCause::kEvicted), 2U);
  for (const ObjectRef& object : reading) EXPECT_TRUE(cluster.Read(object).bytes == value);
  reading.clear();
  EXPECT_TRUE(cluster.TryPut("next", value));
  cluster.directory().Clear();
  cluster.AwaitNothingLeft();
}

TEST(RoomClaim, AnObjectThatFitsOnNoNodeIsRefusedAtOnceAndDrivesNothingOut) {
  ClusterForTest cluster(SmallNodes());
  cluster.Put("kept", ContentForTest(1, 10'000'000));
  ObjectWriter writer(cluster.worker(), "huge", 14 * 4 * kMiB);
  const auto begun = cluster.Run(writer.Begin());
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().code, ErrorCode::kOutOfMemory);
  EXPECT_EQ(cluster.stats().gone.Objects(GoneCause::kEvicted), 0U);
  EXPECT_NE(cluster.directory().Find("kept"), nullptr);
}

TEST(RoomClaim, UnfinishedWritesAreNoVictims) {
  ClusterForTest cluster(SmallNodes());
  // One write holds 8/10 of every node; the other needs 4/10.
  ObjectWriter large(cluster.worker(), "large", 32'000'000);
  ASSERT_TRUE(cluster.Run(large.Begin()));
  const TimePoint begin = net::EventLoop::Now();
  ObjectWriter late(cluster.worker(), "late", 20'000'000);
  const auto begun = cluster.Run(late.Begin());
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().code, ErrorCode::kOutOfMemory);
  EXPECT_LT(net::EventLoop::Now() - begin, RoomClaim::kMakeAtMost + std::chrono::seconds(1));
  EXPECT_EQ(cluster.stats().gone.Objects(GoneCause::kEvicted), 0U);
}

TEST(RoomClaim, ANodeThatIsFullerThanItToldGetsRoomAndTheChunk) {
  ClusterForTest::Options options = SmallNodes();
  options.nodes = 12;
  ClusterForTest cluster(options);
  const std::string value = ContentForTest(1, 1'500'000);
  for (std::size_t i = 0; cluster.stats().gone.Objects(GoneCause::kEvicted) == 0; ++i)
    cluster.Put(KeyOf(i), value);
  cluster.RunUntil([&] { return cluster.cache().shared().reclaimer->pending() == 0; });
  const std::uint64_t evicted = cluster.stats().gone.Objects(GoneCause::kEvicted);
  // The proxy believes that some nodes are empty: it would place more there than they take.
  for (std::uint32_t i = 0; i < 12; ++i) cluster.pool().shared()[i].bytes_used = 0;
  const std::string large = ContentForTest(2, 4'000'000);
  const auto object = cluster.TryPut("large", large);
  ASSERT_TRUE(object) << object.error().message;
  EXPECT_TRUE(cluster.worker().IsWhole(**object));
  EXPECT_TRUE(cluster.Read(*object).bytes == large);
  EXPECT_GT(cluster.stats().gone.Objects(GoneCause::kEvicted), evicted);
  ExpectNodesWithinLimits(cluster);
}

TEST(KeepRoom, MakesRoomAheadOfTheWriteThatNeedsIt) {
  ClusterForTest cluster(SmallNodes());
  const std::string value = ContentForTest(1, 100'000);
  for (std::size_t i = 0; cluster.stats().gone.Objects(GoneCause::kEvicted) == 0; ++i)
    cluster.Put(KeyOf(i), value);
  for (std::size_t i = 0; i < 20; ++i) {
    ExpectNodesWithinLimits(cluster);
    for (const pool::NodeShared& node : cluster.pool().shared())
      EXPECT_GE(node.FreeBytes(), node.bytes_limit / RoomClaim::kSpareShare);
    cluster.Put("late " + KeyOf(i), value);
  }
}

TEST(KeepRoom, TakesNothingWithoutAnEvictionPolicy) {
  ClusterForTest cluster(SmallNodes(policy::EvictionPolicy::kNone));
  const std::string value = ContentForTest(1, 1'000'000);
  std::size_t stored = 0;
  while (cluster.TryPut(KeyOf(stored), value)) ++stored;
  KeepRoom(cluster.worker());
  EXPECT_FALSE(cluster.worker().keeping_room());
  EXPECT_EQ(cluster.directory().size(), stored);
}

TEST(RoomClaim, WritersThatMakeRoomAtOnceDoNotTakeItFromEachOther) {
  ClusterForTest cluster(SmallNodes());
  const std::string value = ContentForTest(1, 3'000'000);
  for (std::size_t i = 0; cluster.stats().gone.Objects(GoneCause::kEvicted) == 0; ++i)
    cluster.Put(KeyOf(i), value);
  const std::uint64_t before = cluster.stats().gone.Objects(GoneCause::kEvicted);
  const std::vector<std::string> keys = {"late 0", "late 1", "late 2", "late 3"};
  std::vector<std::unique_ptr<net::Started<Result<ObjectRef>>>> writes;
  for (const std::string& key : keys) {
    writes.push_back(std::make_unique<net::Started<Result<ObjectRef>>>(
        cluster.loop(), WriteObject(cluster.worker(), key, value)));
  }
  for (const auto& write : writes) {
    cluster.RunUntil([&] { return write->done(); });
    const Result<ObjectRef> object = write->Get();
    ASSERT_TRUE(object) << object.error().message;
    EXPECT_TRUE(cluster.worker().IsWhole(**object));
  }
  // Each takes about one, and some for the spare room; not each for all of them.
  EXPECT_LE(cluster.stats().gone.Objects(GoneCause::kEvicted) - before, 10U);
  ExpectNodesWithinLimits(cluster);
}

}  // namespace
}  // namespace infinicache::cache
