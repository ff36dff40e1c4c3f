#include "cache/evictor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "cache/directory.h"
#include "cache/reclaimer_for_test.h"

namespace infinicache::cache {
namespace {

using Condition = Directory::Condition;

bool Any(const ObjectRecord&) {
  return true;
}

class EvictorTest : public ::testing::Test {
 protected:
  ObjectRef Make(const std::string& key, WallMillis expires_in = 0) {
    ObjectRef object = RecordForTest(key, HashKey(key), Version(++last_version_), 1000, reclaimer_);
    if (expires_in != 0) object->set_expires_at(clock_.WallNow() + expires_in);
    return object;
  }
  void Put(const std::string& key, WallMillis expires_in = 0) {
    directory_.Commit(Make(key, expires_in), Condition::kAlways, false);
  }
  // The key of the next victim, which goes; empty: none.
  std::string Evict(bool idle = true) {
    const ObjectRef victim = evictor_.Next(Any, idle);
    if (victim == nullptr) return {};
    EXPECT_TRUE(directory_.RemoveIfCurrent(victim));
    return victim->key();
  }
  std::string Expired() {
    const ObjectRef expired = evictor_.Expired(clock_.WallNow());
    if (expired == nullptr) return {};
    EXPECT_EQ(directory_.Find(expired->key()), nullptr);
    return expired->key();
  }

  ManualClock clock_;
  std::shared_ptr<ReclaimerForTest> reclaimer_ = std::make_shared<ReclaimerForTest>();
  Evictor evictor_{policy::EvictionPolicy::kClock};
  GoneCounters counters_;
  GoneLog gone_{counters_};
  Directory directory_{clock_, evictor_, gone_};
  std::uint64_t last_version_ = 0;
};

TEST_F(EvictorTest, TakesCommittedObjectsAndUsedOnesLater) {
  const ObjectRef unfinished = Make("unfinished");
  for (const char* key : {"a", "b", "c"}) Put(key);
  directory_.Find("a")->Touch();
  EXPECT_EQ(Evict(), "b");
  EXPECT_EQ(Evict(), "c");
  EXPECT_EQ(Evict(), "a");
  EXPECT_EQ(Evict(), "");
  EXPECT_EQ(directory_.size(), 0U);
}

TEST_F(EvictorTest, WhatIsDeletedOrExpiresLeavesTheOrder) {
  for (const char* key : {"a", "b", "c"}) Put(key);
  Put("expires", 10);
  directory_.Remove("a");
  clock_.Advance(std::chrono::milliseconds(10));
  EXPECT_EQ(directory_.Find("expires"), nullptr);
  EXPECT_EQ(evictor_.size(), 2U);
  directory_.Clear();
  EXPECT_EQ(evictor_.size(), 0U);
  EXPECT_EQ(evictor_.bytes(), 0U);
}

TEST_F(EvictorTest, AnOverwriteTakesThePlaceOfItsFormerVersion) {
  Put("a");
  const std::uint64_t bytes = evictor_.bytes();
  EXPECT_EQ(bytes, directory_.Find("a")->StoredBytes());
  Put("a");
  EXPECT_EQ(evictor_.size(), 1U);
  EXPECT_EQ(evictor_.bytes(), bytes);
}

TEST_F(EvictorTest, AnObjectThatIsBeingReadIsNotIdle) {
  Put("read");
  Put("idle");
  const ObjectRef reading = directory_.Find("read");
  EXPECT_EQ(Evict(), "idle");
  EXPECT_EQ(Evict(), "");
  EXPECT_EQ(Evict(false), "read");
}

TEST_F(EvictorTest, TakesOnlyWhatFreesWhatIsNeeded) {
  for (const char* key : {"a", "b", "c"}) Put(key);
  const auto only_b = [](const ObjectRecord& object) { return object.key() == "b"; };
  const ObjectRef victim = evictor_.Next(only_b, true);
  ASSERT_NE(victim, nullptr);
  EXPECT_EQ(victim->key(), "b");
  EXPECT_EQ(evictor_.Next(only_b, true), nullptr);
}

TEST_F(EvictorTest, NamesExpiredObjectsInOrderOfTheirTimes) {
  Put("never");
  Put("late", 30);
  Put("early", 10);
  Put("moved", 5);
  Put("kept", 8);
  directory_.SetExpiry(directory_.Find("moved"), clock_.WallNow() + 20);
  directory_.SetExpiry(directory_.Find("kept"), ObjectRecord::kNever);
  EXPECT_EQ(Expired(), "");
  clock_.Advance(std::chrono::milliseconds(25));
  EXPECT_EQ(Expired(), "early");
  EXPECT_EQ(Expired(), "moved");
  EXPECT_EQ(Expired(), "");
  EXPECT_EQ(counters_.Objects(GoneCause::kExpired), 2U);
}

TEST_F(EvictorTest, WithNoEvictionThereIsNoVictim) {
  Evictor none(policy::EvictionPolicy::kNone);
  Directory directory(clock_, none, gone_);
  directory.Commit(Make("a", 10), Condition::kAlways, false);
  directory.Commit(Make("a"), Condition::kAlways, false);
  clock_.Advance(std::chrono::milliseconds(10));
  EXPECT_EQ(none.Next(Any, false), nullptr);
  EXPECT_EQ(none.Expired(clock_.WallNow()), nullptr);
  EXPECT_EQ(directory.size(), 1U);
}

// Also what a thread sanitizer watches.
TEST(EvictorThreads, VictimsAreTakenOnceWhileOthersWriteDeleteAndRead) {
  const SystemClock clock;
  Evictor evictor(policy::EvictionPolicy::kS3Fifo);
  GoneCounters counters;
  GoneLog gone(counters);
  Directory directory(clock, evictor, gone);
  struct Discard final : ChunkReclaimer {
    void Reclaim(pool::Place, const ChunkId&) override {}
    void SetExpiry(pool::Place, const ChunkId&, WallMillis) override {}
    void Flush() override {}
    std::size_t pending() const override { return 0; }
  };
  const auto reclaimer = std::make_shared<Discard>();
  std::atomic<std::uint64_t> version{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      Random random(static_cast<std::uint64_t>(t) + 1);
      for (int i = 0; i < 3000; ++i) {
        const std::string key = "key" + std::to_string(random.Below(50));
        auto object = RecordForTest(key, HashKey(key), Version(++version), 1000, reclaimer);
        if (i % 5 == 0) object->set_expires_at(clock.WallNow() + 1);
        directory.Commit(std::move(object), Condition::kAlways, false);
        if (const ObjectRef found = directory.Find(key); found != nullptr) found->Touch();
        if (i % 7 == 0) directory.Remove(key);
        if (i % 3 == 0) {
          if (const ObjectRef victim = evictor.Next(Any, i % 2 == 0); victim != nullptr)
            directory.RemoveIfCurrent(victim);
        }
        if (const ObjectRef expired = evictor.Expired(clock.WallNow()); expired != nullptr)
          directory.Find(expired->key());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(evictor.size(), directory.size());
  directory.Clear();
  EXPECT_EQ(evictor.bytes(), 0U);
}

}  // namespace
}  // namespace infinicache::cache
