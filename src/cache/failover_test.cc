#include "cache/failover.h"

#include <gtest/gtest.h>

#include <string>

#include "cache/cluster_for_test.h"

namespace infinicache::cache {
namespace {

class FailoverTest : public testing::Test {
 protected:
  FailoverTest() : cluster_(Options()) {}

  static ClusterForTest::Options Options() {
    ClusterForTest::Options options;
    options.cache.code = {4, 2};
    options.nodes = 8;
    return options;
  }

  // As the chunk's holder lists it.
  wire::InventoryEntry Listed(const ObjectRef& object, std::size_t index) {
    for (wire::InventoryEntry& entry : cluster_.InventoryOf(object->place(index).node))
      if (entry.chunk == object->chunk(index)) return entry;
    return {};
  }
  // The place of the holder's next instance.
  static pool::Place Next(const ObjectRef& object, std::size_t index) {
    const pool::Place place = object->place(index);
    return {place.node, pool::Epoch(place.epoch.value() + 1)};
  }
  Verdict Judge(const wire::InventoryEntry& entry, pool::Place taken) {
    return Failover::Judge(cluster_.worker(), entry, taken,
                           Version(cluster_.cache().shared().last_version));
  }

  ClusterForTest cluster_;
  const std::string value_ = ContentForTest(1, 2'000'000);
};

TEST_F(FailoverTest, ACurrentChunkIsMovedToTheNewEpoch) {
  const ObjectRef object = cluster_.Put("key", value_);
  const auto entry = Listed(object, 2);
  const pool::Place taken = Next(object, 2);
  EXPECT_EQ(Judge(entry, taken), Verdict::kKeep);
  EXPECT_EQ(object->place(2), taken);
  EXPECT_EQ(Judge(entry, taken), Verdict::kIgnore) << "listed again";
}

TEST_F(FailoverTest, AChunkThatAReaderMissedIsFoundAgain) {
  const ObjectRef object = cluster_.Put("key", value_);
  const auto entry = Listed(object, 2);
  const pool::Place taken = Next(object, 2);
  object->ClearPlace(2, object->place(2));
  EXPECT_EQ(Judge(entry, taken), Verdict::kKeep);
  EXPECT_EQ(object->place(2), taken);
}

TEST_F(FailoverTest, AnOlderVersionIsFreed) {
  const ObjectRef older = cluster_.Put("key", value_);
  const auto entry = Listed(older, 0);
  const pool::Place taken = Next(older, 0);
  cluster_.Put("key", value_);
  EXPECT_EQ(Judge(entry, taken), Verdict::kFree);
}

TEST_F(FailoverTest, WhatTheDirectoryDoesNotKnowIsFreedLater) {
  const ObjectRef object = cluster_.Put("key", value_);
  const auto entry = Listed(object, 0);
  const pool::Place taken = Next(object, 0);
  cluster_.directory().Remove("key");
  EXPECT_EQ(Judge(entry, taken), Verdict::kFreeLater);
}

TEST_F(FailoverTest, AChunkThatWasRepairedElsewhereIsFreed) {
  const ObjectRef object = cluster_.Put("key", value_);
  const auto entry = Listed(object, 0);
  const pool::Place taken = Next(object, 0);
  const pool::Place elsewhere = object->place(1);
  object->set_place(0, elsewhere);
  EXPECT_EQ(Judge(entry, taken), Verdict::kFree);
  EXPECT_EQ(object->place(0), elsewhere);
}

TEST_F(FailoverTest, AChunkUnderRepairIsLeftAlone) {
  const ObjectRef object = cluster_.Put("key", value_);
  const auto entry = Listed(object, 0);
  const pool::Place taken = Next(object, 0);
  object->ClearPlace(0, object->place(0));
  object->repair_pending = true;
  EXPECT_EQ(Judge(entry, taken), Verdict::kFreeLater);
  EXPECT_TRUE(object->place(0).IsNowhere());
  object->repair_pending = false;
}

TEST_F(FailoverTest, WhatWasWrittenSinceIsNotTouched) {
  const ObjectRef object = cluster_.Put("key", value_);
  const auto entry = Listed(object, 0);
  const Version before(object->version().value() - 1);
  EXPECT_EQ(Failover::Judge(cluster_.worker(), entry, Next(object, 0), before), Verdict::kIgnore);
}

TEST_F(FailoverTest, WhatIsOutdatedIsGoneFromTheNodeWhenItSaysSo) {
  const ObjectRef old = cluster_.Put("key", value_);  // kept: nobody else frees it
  const ObjectRef current = cluster_.Put("key", value_);
  const pool::Place place = old->place(0);
  Failover failover(cluster_.worker(), place);
  cluster_.Run(net::WithValue(failover.Run()));
  EXPECT_TRUE(cluster_.Run(failover.FreeOrphans()));
  for (const wire::InventoryEntry& entry : cluster_.InventoryOf(place.node))
    EXPECT_EQ(entry.chunk.version, current->version());
}

}  // namespace
}  // namespace infinicache::cache
