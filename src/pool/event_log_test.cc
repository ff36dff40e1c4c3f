#include "pool/event_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace infinicache::pool {
namespace {

void AddMany(EventLog& log, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    log.Add(1000, EventKind::kInstanceStarted, NodeId(1), InstanceId(2), "why");
}

TEST(EventLog, NumbersEventsFromOneAndGivesThoseAfterANumber) {
  EventLog log;
  EXPECT_EQ(log.last_id(), 0U);
  EXPECT_TRUE(log.After(0, 10).empty());
  AddMany(log, 3);
  log.Add(2000, EventKind::kInstanceReclaimed, NodeId(7), InstanceId(9), "gone");
  EXPECT_EQ(log.last_id(), 4U);
  EXPECT_EQ(log.After(0, 10).size(), 4U);
  EXPECT_EQ(log.After(0, 10).front().id, 1U);
  const auto last = log.After(3, 10);
  ASSERT_EQ(last.size(), 1U);
  EXPECT_EQ(last[0].id, 4U);
  EXPECT_EQ(last[0].at, 2000);
  EXPECT_EQ(last[0].node, NodeId(7));
  EXPECT_EQ(EventKindName(last[0].kind), "instance_reclaimed");
  EXPECT_TRUE(log.After(4, 10).empty());
  EXPECT_TRUE(log.After(std::numeric_limits<std::uint64_t>::max(), 10).empty());
}

TEST(EventLog, GivesTheOldestFirstUpToTheLimit) {
  EventLog log;
  AddMany(log, 5);
  const auto some = log.After(1, 2);
  ASSERT_EQ(some.size(), 2U);
  EXPECT_EQ(some[0].id, 2U);
  EXPECT_EQ(some[1].id, 3U);
}

TEST(EventLog, DropsTheOldestBeyondItsSizeAndKeepsTheNumbers) {
  EventLog log;
  AddMany(log, EventLog::kEventsMax + 10);
  EXPECT_EQ(log.last_id(), EventLog::kEventsMax + 10);
  const auto kept = log.After(0, 2 * EventLog::kEventsMax);
  EXPECT_EQ(kept.size(), EventLog::kEventsMax);
  EXPECT_EQ(kept.front().id, 11U);
  EXPECT_EQ(kept.back().id, log.last_id());
  EXPECT_EQ(log.After(log.last_id() - 1, 10).size(), 1U);
}

TEST(EventLog, EventsOfObjectsPushOutNoneOfInstances) {
  EventLog log;
  AddMany(log, 3);
  for (std::size_t i = 0; i < EventLog::kEventsMax + 5; ++i)
    log.Add(1000, EventKind::kObjectsGone, {.cause = "evicted", .objects = 1, .bytes = 2}, "1");
  AddMany(log, 1);
  const auto kept = log.After(0, 2 * EventLog::kEventsMax);
  ASSERT_EQ(kept.size(), EventLog::kEventsMax + 4);
  EXPECT_EQ(kept[2].id, 3U);
  EXPECT_EQ(kept[3].id, 9U) << "the first five of objects were dropped";
  EXPECT_EQ(kept[3].gone->cause, "evicted");
  EXPECT_EQ(kept.back().id, log.last_id());
  EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end(),
                             [](const Event& a, const Event& b) { return a.id < b.id; }));
  EXPECT_EQ(log.After(2, 2).back().id, 9U);
}

TEST(EventLog, CutsALongDetail) {
  EventLog log;
  log.Add(0, EventKind::kInvocationFailed, NodeId(0), InstanceId(), std::string(5000, 'x'));
  EXPECT_EQ(log.After(0, 1)[0].detail.size(), EventLog::kDetailBytesMax);
}

}  // namespace
}  // namespace infinicache::pool
