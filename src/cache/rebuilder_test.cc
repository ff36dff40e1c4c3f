#include "cache/rebuilder.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cache/cluster_for_test.h"
#include "cache/hidden.h"
#include "cache/retire.h"

namespace infinicache::cache {
namespace {

using Condition = Directory::Condition;

class RebuilderTest : public testing::Test {
 protected:
  RebuilderTest() : cluster_(Options()) {}

  static ClusterForTest::Options Options() {
    ClusterForTest::Options options;
    options.apart = {3};
    options.cache.code = {4, 2};
    options.nodes = 8;
    return options;
  }

  // As a client's DEL.
  void Delete(ObjectRef object) {
    RunTask(Retire(cluster_.worker(), {&object, 1}, wire::kDeletedMark));
    EXPECT_TRUE(cluster_.directory().RemoveIfCurrent(object));
  }
  void RunTask(net::Task<> task) { cluster_.Run(net::WithValue(std::move(task))); }

  std::string Read(std::string_view key) {
    const ObjectRef object = cluster_.directory().Find(key);
    return object == nullptr ? "absent" : cluster_.Read(object).bytes;
  }
  void AwaitChunks(std::uint64_t count) {
    cluster_.RunUntil([&] {
      std::uint64_t chunks = 0;
      for (std::uint32_t i = 0; i < 8; ++i) chunks += cluster_.InventoryOf(NodeId(i)).size();
      return chunks == count;
    });
  }
  std::uint64_t Gone(GoneCause cause) { return cluster_.stats().gone.Objects(cause); }

  ClusterForTest cluster_;
};

TEST_F(RebuilderTest, EveryObjectIsThereAgainWithItsBytesAndExpiry) {
  std::map<std::string, std::string> values;
  for (const std::size_t size : {0, 1, 1000, 131'072, 131'073, 1'000'000, 5'000'000})
    values["key " + std::to_string(size)] = ContentForTest(size, size);
  for (const auto& [key, value] : values) cluster_.Put(key, value);
  const WallMillis when = cluster_.clock().WallNow() + 60'000;
  EXPECT_TRUE(cluster_.worker().SetExpiry(cluster_.directory().Find("key 1000"), when));
  cluster_.RunUntil(
      [&] { return cluster_.ExpiriesOnNodes("key 1000") == std::vector<WallMillis>(3, when); });
  const std::uint64_t bytes = cluster_.directory().bytes();
  const Version last = cluster_.directory().Find("key 5000000")->version();
  cluster_.Crash();
  cluster_.Restart();
  EXPECT_EQ(cluster_.directory().size(), values.size());
  EXPECT_EQ(cluster_.directory().bytes(), bytes);
  EXPECT_EQ(cluster_.directory().expiring(), 1U);
  EXPECT_EQ(cluster_.directory().Find("key 1000")->expires_at(), when);
  for (const auto& [key, value] : values) {
    EXPECT_TRUE(Read(key) == value) << key;
    EXPECT_TRUE(cluster_.worker().IsWhole(*cluster_.directory().Find(key))) << key;
  }
  EXPECT_EQ(cluster_.stats().objects_rebuilt, values.size());
  EXPECT_EQ(cluster_.stats().orphans_freed, 0U);
  // What is written now goes before it.
  EXPECT_GT(cluster_.Put("key 1", "new")->version(), last);
  EXPECT_EQ(Read("key 1"), "new");
}

TEST_F(RebuilderTest, VersionsGoOnAboveAllThatNodesHoldThoughTheClockWentBack) {
  cluster_.clock().Advance(std::chrono::hours(1));
  cluster_.cache().shared().last_version = static_cast<std::uint64_t>(cluster_.clock().WallNow())
                                           << 20;
  const Version before = cluster_.Put("key", "old")->version();
  cluster_.clock().Advance(-std::chrono::hours(1));
  cluster_.Crash();
  cluster_.Restart();
  EXPECT_EQ(Read("key"), "old");
  EXPECT_GT(cluster_.Put("key", "new")->version(), before);
  EXPECT_EQ(Read("key"), "new");
}

TEST_F(RebuilderTest, WhatWasDeletedIsNotThereAgainThoughNothingWasFreed) {
  for (const std::size_t size : {10, 200'000, 2'000'000}) {
    const std::string key = std::to_string(size);
    Delete(cluster_.Put(key, ContentForTest(size, size)));
  }
  cluster_.Put("kept", "value");
  cluster_.Crash();
  cluster_.Restart();
  EXPECT_EQ(cluster_.directory().size(), 1U);
  EXPECT_EQ(Read("kept"), "value");
  AwaitChunks(3);
  EXPECT_EQ(Gone(GoneCause::kTorn), 0U);
}

TEST_F(RebuilderTest, ADeletedKeyStaysDeletedWithoutAnyPNodes) {
  const std::string value = ContentForTest(1, 200'000);
  ObjectRef object = cluster_.Put("key", value);
  const NodeId first = object->place(0).node;
  const NodeId second = object->place(1).node;
  Delete(std::move(object));
  cluster_.Crash();
  cluster_.platform().reviving = false;
  cluster_.Kill(first);
  cluster_.Kill(second);
  cluster_.Restart();
  EXPECT_EQ(Read("key"), "absent");
  AwaitChunks(0);
}

TEST_F(RebuilderTest, TheNewestCompleteVersionIsTheValueAndOlderOnesAreFreed) {
  cluster_.Put("key", ContentForTest(1, 200'000));
  cluster_.Put("key", "second");
  cluster_.Crash();
  cluster_.Restart();
  EXPECT_EQ(Read("key"), "second");
  EXPECT_EQ(cluster_.stats().orphans_freed, 6U);
  AwaitChunks(3);
}

TEST_F(RebuilderTest, ATornWriteIsDroppedAndDoesNotHideTheValueBefore) {
  const std::string value = ContentForTest(1, 200'000);
  cluster_.Put("key", value);
  auto torn = cluster_.Run(WriteObject(cluster_.worker(), "key", ContentForTest(2, 300'000)));
  ASSERT_TRUE(torn);
  for (std::size_t i = 0; i < 3; ++i) cluster_.RemoveChunk(*torn, i);
  cluster_.Crash();
  cluster_.Restart();
  EXPECT_TRUE(Read("key") == value);
  EXPECT_EQ(Gone(GoneCause::kTorn), 1U);
  EXPECT_EQ(cluster_.stats().gone.Bytes(GoneCause::kTorn), 300'000U);
  EXPECT_EQ(cluster_.stats().orphans_freed, 3U);
  AwaitChunks(6);
}

// More than p chunks of a value that was answered are lost; the one before is still there whole, as
// its nodes slept.
TEST_F(RebuilderTest, AnOverwrittenValueIsNotThereAgainWhenItsSuccessorIsLost) {
  for (const bool all_of_it : {false, true}) {
    const std::string key = all_of_it ? "all" : "some";
    const std::size_t size = all_of_it ? 1000 : 200'000;               // three copies, or 4+2
    const ObjectRef old = cluster_.Put(key, ContentForTest(1, size));  // kept: nothing is freed
    std::set<NodeId> killed;
    const ObjectRef current = cluster_.Put(key, ContentForTest(2, size));
    EXPECT_TRUE(Hides(*current, *old));
    for (std::size_t i = 0; i < current->layout().code.parity + 1U; ++i)
      killed.insert(current->place(i).node);
    // Each is followed by a new instance while the proxy lives, so that no node is missing later.
    const std::uint64_t started = cluster_.pool().stats().instances_started;
    for (const NodeId node : killed) cluster_.Kill(node);
    cluster_.RunUntil(
        [&] { return cluster_.pool().stats().instances_started == started + killed.size(); });
    cluster_.RunUntil([&] { return cluster_.directory().Find(key) == nullptr; });
  }
  cluster_.Crash();
  cluster_.Restart();
  EXPECT_EQ(Read("some"), "absent");
  EXPECT_EQ(Read("all"), "absent");
}

TEST_F(RebuilderTest, WhatAConditionDroppedIsNotThere) {
  cluster_.Put("key", "first");
  auto second = cluster_.Run(WriteObject(cluster_.worker(), "key", "second"));
  ASSERT_TRUE(second);
  EXPECT_FALSE(cluster_.worker().Commit(*second, Condition::kIfAbsent, false).committed);
  RunTask(Retire(cluster_.worker(), {&*second, 1}, wire::kVoidMark));
  cluster_.Crash();
  cluster_.Restart();
  EXPECT_EQ(Read("key"), "first");
}

TEST_F(RebuilderTest, AnOldVersionThatSomebodyStillReadIsNotThereAgainWhenItsSuccessorsAreGone) {
  const ObjectRef reader = cluster_.Put("key", "first");
  cluster_.Put("key", "second");
  cluster_.RunUntil([&] {  // the second is free before the crash, and the first is not
    if (ObjectRef current = cluster_.directory().Find("key"); current != nullptr)
      Delete(std::move(current));
    return cluster_.InventoryOf(reader->place(0).node).size() == 1 && cluster_.ChunksOnNodes() == 3;
  });
  EXPECT_EQ(cluster_.Read(reader).bytes, "first") << "a reader ends what it has begun";
  cluster_.Crash();
  cluster_.Restart();
  EXPECT_EQ(Read("key"), "absent");
  AwaitChunks(0);
}

TEST_F(RebuilderTest, WhatHasExpiredMeanwhileIsAbsentAndCounted) {
  const auto written = cluster_.Run(
      WriteObject(cluster_.worker(), "key", "value", cluster_.clock().WallNow() + 1000));
  cluster_.worker().Commit(*written, Condition::kAlways, false);
  cluster_.Crash();
  cluster_.clock().Advance(std::chrono::seconds(2));
  cluster_.Restart();
  EXPECT_EQ(Read("key"), "absent");
  EXPECT_EQ(Gone(GoneCause::kExpired), 1U);
}

TEST_F(RebuilderTest, ObjectsThatLackChunksAreReadAndRepairedAndThoseWithTooFewAreLosses) {
  const std::string value = ContentForTest(1, 200'000);
  const ObjectRef object = cluster_.Put("kept", value);
  const ObjectRef lost = cluster_.Put("lost", ContentForTest(2, 200'000));
  const std::set<NodeId> killed = {object->place(0).node, object->place(5).node};
  std::size_t left = 0;
  for (std::size_t i = 0; i < 6; ++i) {
    if (killed.contains(lost->place(i).node)) continue;
    if (++left > 3) cluster_.RemoveChunk(lost, i);
  }
  cluster_.Crash();
  cluster_.platform().reviving = false;
  for (const NodeId node : killed) cluster_.Kill(node);
  cluster_.Restart();
  EXPECT_TRUE(Read("kept") == value);
  EXPECT_EQ(Read("lost"), "absent");
  EXPECT_EQ(Gone(GoneCause::kReclaimed), 1U) << "the nodes that are lost may have held it";
  EXPECT_EQ(Gone(GoneCause::kTorn), 0U);
  cluster_.platform().reviving = true;
  for (const NodeId node : killed) cluster_.platform().Revive(node);
  cluster_.RunUntil([&] { return cluster_.worker().IsWhole(*cluster_.directory().Find("kept")); });
}

TEST_F(RebuilderTest, KeysAreServedOnlyOnceNoNodeCanHoldANewerVersion) {
  constexpr std::size_t kObjects = 1000;
  const std::string prefix(2000, 'k');  // of which few fit into a page
  for (std::size_t i = 0; i < kObjects; ++i) cluster_.Put(prefix + std::to_string(i), "value");
  cluster_.Crash();
  cluster_.Stall(true);
  cluster_.BeginRestart();
  const RebuildProgress& rebuild = cluster_.cache().shared().rebuild;
  const TimePoint begin = net::EventLoop::Now();
  cluster_.RunUntil([&] { return net::EventLoop::Now() - begin > std::chrono::milliseconds(200); });
  EXPECT_TRUE(rebuild.loading());
  EXPECT_FALSE(rebuild.versions_known());
  EXPECT_EQ(cluster_.directory().size(), 0U);
  cluster_.Stall(false);
  std::size_t steps = 0;
  std::size_t size = 0;
  cluster_.RunUntil([&] {
    for (std::size_t i = 0; i < kObjects; ++i) {
      const std::string key = prefix + std::to_string(i);
      if (rebuild.IsSettled(HashKey(key))) EXPECT_NE(cluster_.directory().Find(key), nullptr);
    }
    if (cluster_.directory().size() != std::exchange(size, cluster_.directory().size())) ++steps;
    return !rebuild.loading();
  });
  EXPECT_EQ(cluster_.directory().size(), kObjects);
  EXPECT_GT(steps, 1U) << "not all at once";
  EXPECT_EQ(rebuild.share(), 1);
}

TEST_F(RebuilderTest, AnInstanceThatEndsMeanwhileTakesItsChunksAlong) {
  const std::string value = ContentForTest(1, 200'000);
  for (int i = 0; i < 20; ++i) cluster_.Put("key " + std::to_string(i), value);
  cluster_.Crash();
  cluster_.Stall(true);
  cluster_.BeginRestart();
  cluster_.Kill(NodeId(3));
  cluster_.Stall(false);
  cluster_.RunUntil([&] { return !cluster_.cache().shared().rebuild.loading(); });
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Read("key " + std::to_string(i)) == value) << i;
}

TEST_F(RebuilderTest, AnEmptyPoolIsRebuiltToAnEmptyDirectory) {
  cluster_.Crash();
  cluster_.Restart();
  EXPECT_EQ(cluster_.directory().size(), 0U);
  EXPECT_EQ(cluster_.stats().chunks_listed, 0U);
}

}  // namespace
}  // namespace infinicache::cache
