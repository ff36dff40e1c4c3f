#include "node/sync_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "coding/crc32c.h"

namespace infinicache::node {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

ChunkId ChunkOf(std::uint64_t object, std::uint64_t version = 1) {
  return {ObjectId(object), Version(version), 0};
}

class SyncPlanTest : public testing::Test {
 protected:
  void Put(const ChunkId& id, std::int64_t expires_at_ms = 0) {
    const std::string bytes = "some bytes";
    auto chunk = store_.Begin(id, {"key", bytes.size(), bytes.size(), 64, 1, 0, expires_at_ms});
    const auto extents = store_.NextStrip(**chunk, 0, bytes.size());
    std::memcpy(extents->front().data, bytes.data(), bytes.size());
    ASSERT_TRUE(store_.StripReceived(**chunk, coding::Crc32c(std::as_bytes(std::span(bytes)), 0)));
    store_.Commit(*chunk);
  }
  ChunkStore store_{8 * kMiB};
};

TEST_F(SyncPlanTest, ADeltaHoldsWhatWasChangedSinceAndNothingElse) {
  Put(ChunkOf(1));
  Put(ChunkOf(2));
  Put(ChunkOf(3));
  const std::uint64_t synced = store_.changes().last();
  EXPECT_THAT(PlanDelta(store_, synced)->chunks, IsEmpty());
  Put(ChunkOf(4));
  store_.Remove(ChunkOf(1));
  store_.SetExpiry(ChunkOf(2), 77);
  const auto plan = PlanDelta(store_, synced);
  ASSERT_TRUE(plan);
  EXPECT_THAT(plan->chunks, ElementsAre(ChunkOf(4)));
  EXPECT_THAT(plan->removed, ElementsAre(ChunkOf(1)));
  EXPECT_THAT(plan->expiries, ElementsAre(wire::ChunkExpiry{ChunkOf(2), 77}));
  EXPECT_EQ(plan->sequence, store_.changes().last());
}

TEST_F(SyncPlanTest, TheSameExpiryAgainIsNoChange) {
  Put(ChunkOf(1), 50);
  const std::uint64_t synced = store_.changes().last();
  store_.SetExpiry(ChunkOf(1), 50);
  EXPECT_EQ(store_.changes().last(), synced);
}

TEST_F(SyncPlanTest, WhatWasRemovedAndStoredAgainIsSentAndNotRemoved) {
  Put(ChunkOf(1));
  const std::uint64_t synced = store_.changes().last();
  store_.Remove(ChunkOf(1));
  Put(ChunkOf(1));
  const auto plan = PlanDelta(store_, synced);
  EXPECT_THAT(plan->removed, IsEmpty());
  EXPECT_THAT(plan->chunks, ElementsAre(ChunkOf(1)));
}

TEST_F(SyncPlanTest, WhatWasUsedLastComesFirst) {
  for (std::uint64_t i = 1; i <= 3; ++i) Put(ChunkOf(i));
  (void)store_.Use(ChunkOf(1));
  EXPECT_THAT(PlanDelta(store_, 0)->chunks, ElementsAre(ChunkOf(1), ChunkOf(3), ChunkOf(2)));
  (void)store_.Find(ChunkOf(2));  // a look is no use
  EXPECT_THAT(PlanDelta(store_, 0)->chunks, ElementsAre(ChunkOf(1), ChunkOf(3), ChunkOf(2)));
}

TEST_F(SyncPlanTest, NoDeltaWhereTheLogDoesNotReach) {
  Put(ChunkOf(1));
  for (std::size_t i = 0; i <= ChangeLog::kRemovalsMax; ++i) {
    Put(ChunkOf(2));
    store_.Remove(ChunkOf(2));
  }
  EXPECT_FALSE(PlanDelta(store_, 1));
  EXPECT_FALSE(PlanDelta(store_, store_.changes().last() + 1)) << "of another instance";
}

TEST_F(SyncPlanTest, AComparisonFindsTheDifference) {
  Put(ChunkOf(1));
  Put(ChunkOf(2), 20);
  Put(ChunkOf(3, 2));
  const std::vector<wire::ChunkExpiry> theirs = {
      {ChunkOf(1), 0}, {ChunkOf(2), 0}, {ChunkOf(3, 1), 0}};
  const SyncPlan plan = PlanByComparison(store_, theirs);
  EXPECT_THAT(plan.chunks, ElementsAre(ChunkOf(3, 2)));
  EXPECT_THAT(plan.removed, ElementsAre(ChunkOf(3, 1)));
  EXPECT_THAT(plan.expiries, ElementsAre(wire::ChunkExpiry{ChunkOf(2), 20}));
}

}  // namespace
}  // namespace infinicache::node
