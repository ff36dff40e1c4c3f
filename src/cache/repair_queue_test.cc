#include "cache/repair_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "cache/reclaimer_for_test.h"

namespace infinicache::cache {
namespace {

constexpr TimePoint kNow{std::chrono::seconds(100)};

class RepairQueueTest : public testing::Test {
 protected:
  ObjectRef Object(const std::string& key, std::size_t spare, WallMillis used_at,
                   std::uint64_t missing_bytes = 10) {
    auto object = std::make_shared<ObjectRecord>(key, ObjectId(1), Version(1),
                                                 coding::StripeLayout::For(1000, {4, 2}), nullptr);
    object->set_used_at(used_at);
    needs_[object.get()] = {.spare = spare, .missing_bytes = missing_bytes};
    return object;
  }

  std::string TakeAll(TimePoint now = kNow) {
    std::string keys;
    TimePoint next;
    while (const ObjectRef object = queue_.Take(now, &next)) keys += object->key();
    return keys;
  }

  std::map<const ObjectRecord*, RepairNeed> needs_;
  RepairQueue queue_{true, [this](const ObjectRecord& object) { return needs_[&object]; }};
};

TEST_F(RepairQueueTest, GivesTheMostEndangeredFirstThenTheLastUsed) {
  const std::vector<ObjectRef> objects = {Object("a", 1, 50), Object("b", 0, 10),
                                          Object("c", 1, 70), Object("d", 0, 20),
                                          Object("e", 1, 50)};
  for (const ObjectRef& object : objects) queue_.Add(object);
  EXPECT_EQ(queue_.size(), 5U);
  EXPECT_EQ(TakeAll(), "dbcae");
  EXPECT_EQ(queue_.size(), 0U);
}

TEST_F(RepairQueueTest, AnObjectThatLosesAnotherChunkMovesForward) {
  const ObjectRef a = Object("a", 1, 50);
  const ObjectRef b = Object("b", 1, 10);
  queue_.Add(a);
  queue_.Add(b);
  needs_[b.get()] = {.spare = 0, .missing_bytes = 20};
  queue_.Add(b);
  EXPECT_EQ(queue_.size(), 2U);
  EXPECT_EQ(queue_.bytes(), 30U);
  EXPECT_EQ(TakeAll(), "ba");
  EXPECT_EQ(queue_.bytes(), 0U);
}

TEST_F(RepairQueueTest, WhatWasTakenIsNotAddedAgainUntilItsRepairEnds) {
  const ObjectRef a = Object("a", 1, 50);
  queue_.Add(a);
  EXPECT_EQ(TakeAll(), "a");
  needs_[a.get()] = {.spare = 0, .missing_bytes = 20};
  queue_.Add(a);
  EXPECT_EQ(TakeAll(), "");
  a->repair_pending = false;
  queue_.Add(a);
  EXPECT_EQ(TakeAll(), "a");
}

TEST_F(RepairQueueTest, WhatIsPutBackComesWhenItsTimeIsDue) {
  const ObjectRef a = Object("a", 1, 50);
  queue_.Add(a);
  TimePoint next;
  queue_.AddLater(queue_.Take(kNow, &next), kNow);
  EXPECT_EQ(queue_.bytes(), 10U);
  EXPECT_EQ(queue_.Take(kNow, &next), nullptr);
  EXPECT_EQ(next, kNow + RepairQueue::kRetryAfter);
  EXPECT_EQ(TakeAll(next), "a");
}

TEST_F(RepairQueueTest, ADisabledQueueTakesNothing) {
  RepairQueue off(false, [](const ObjectRecord&) { return RepairNeed{}; });
  const ObjectRef a = Object("a", 1, 50);
  off.Add(a);
  EXPECT_EQ(off.size(), 0U);
  EXPECT_FALSE(a->repair_pending);
}

TEST_F(RepairQueueTest, ThrottleKeepsTheBandwidthLimit) {
  RepairQueue limited(true, [](const ObjectRecord&) { return RepairNeed{}; }, 1'000'000);
  EXPECT_EQ(limited.Throttle(RepairQueue::kBurstBytes, kNow), Duration(0));
  EXPECT_EQ(limited.Throttle(500'000, kNow), std::chrono::milliseconds(500));
  EXPECT_EQ(queue_.Throttle(1'000'000'000, kNow), Duration(0));
}

}  // namespace
}  // namespace infinicache::cache
