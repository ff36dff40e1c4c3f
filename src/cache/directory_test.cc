#include "cache/directory.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "cache/reclaimer_for_test.h"
#include "wire/inventory.h"

namespace infinicache::cache {
namespace {

using std::chrono::milliseconds;
using ::testing::SizeIs;
using Condition = Directory::Condition;

class DirectoryTest : public testing::Test {
 protected:
  ObjectRef Make(const std::string& key, std::uint64_t bytes = 100, WallMillis life = 0) {
    return MakeWithId(key, HashKey(key), bytes, life);
  }
  ObjectRef MakeWithId(const std::string& key, ObjectId id, std::uint64_t bytes = 100,
                       WallMillis life = 0) {
    ObjectRef object = RecordForTest(key, id, Version(++last_version_), bytes, reclaimer_);
    object->set_place(0, {NodeId(1), pool::Epoch(1)});
    if (life != 0) object->set_expires_at(clock_.WallNow() + life);
    return object;
  }
  ObjectRef Add(const std::string& key, std::uint64_t bytes = 100, WallMillis life = 0) {
    ObjectRef object = Make(key, bytes, life);
    EXPECT_TRUE(directory_.Commit(object, Condition::kAlways, false).committed);
    return object;
  }
  std::multiset<std::string> ScanAll(std::size_t count) {
    std::multiset<std::string> keys;
    std::uint64_t cursor = 0;
    do {
      cursor = directory_.Scan(cursor, count,
                               [&](const ObjectRef& object) { keys.insert(object->key()); });
    } while (cursor != 0);
    return keys;
  }

  ManualClock clock_;
  std::shared_ptr<ReclaimerForTest> reclaimer_ = std::make_shared<ReclaimerForTest>();
  Evictor evictor_{policy::EvictionPolicy::kS3Fifo};
  GoneCounters counters_;
  GoneLog gone_{counters_};
  Directory directory_{clock_, evictor_, gone_};
  std::uint64_t last_version_ = 0;
};

TEST_F(DirectoryTest, FindsWhatIsCommittedUntilItIsRemoved) {
  EXPECT_EQ(directory_.Find("a"), nullptr);
  const ObjectRef a = Add("a", 10);
  const ObjectRef b = Add("b", 20);
  EXPECT_EQ(directory_.Find("a"), a);
  EXPECT_EQ(directory_.Find("b"), b);
  EXPECT_EQ(directory_.size(), 2U);
  EXPECT_EQ(directory_.bytes(), 30U);
  EXPECT_EQ(directory_.Remove("a"), a);
  EXPECT_EQ(directory_.Remove("a"), nullptr);
  EXPECT_EQ(directory_.Find("a"), nullptr);
  EXPECT_FALSE(directory_.IsCurrent(a));
  EXPECT_FALSE(directory_.RemoveIfCurrent(a));
  EXPECT_TRUE(directory_.RemoveIfCurrent(b));
  EXPECT_EQ(directory_.size(), 0U);
  EXPECT_EQ(directory_.bytes(), 0U);
}

TEST_F(DirectoryTest, NodesAreToldThatARecordIsDeletedIfSomebodyReadsItOn) {
  Add("unread", 10);
  Add("unread", 20);
  directory_.Remove("unread");
  EXPECT_THAT(reclaimer_->expiries, SizeIs(0)) << "its chunks are freed at once";
  const ObjectRef replaced = Add("read", 10);
  const ObjectRef removed = Add("read", 20);
  ASSERT_THAT(reclaimer_->expiries, SizeIs(1));
  EXPECT_EQ(reclaimer_->expiries[0].chunk, replaced->chunk(0));
  EXPECT_EQ(reclaimer_->expiries[0].expires_at, wire::kDeletedMark);
  const std::vector<ObjectRef> readers = {removed};
  EXPECT_TRUE(directory_.RemoveIfCurrent(removed));
  ASSERT_THAT(reclaimer_->expiries, SizeIs(2));
  EXPECT_EQ(reclaimer_->expiries[1].chunk, removed->chunk(0));
}

TEST_F(DirectoryTest, WhatIsClearedCountsAsFlushedWithItsBytes) {
  Add("a", 10);
  Add("b", 20);
  EXPECT_THAT(directory_.Clear(), SizeIs(2));
  EXPECT_THAT(directory_.Clear(), SizeIs(0));
  EXPECT_EQ(counters_.Objects(GoneCause::kFlushed), 2U);
  EXPECT_EQ(counters_.Bytes(GoneCause::kFlushed), 30U);
}

TEST_F(DirectoryTest, CommitReturnsThePreviousAndTheLastReaderReclaimsIt) {
  ObjectRef first = Add("k", 10);
  auto result = directory_.Commit(Make("k", 30), Condition::kAlways, false);
  EXPECT_EQ(result.previous, first);
  EXPECT_EQ(directory_.bytes(), 30U);
  EXPECT_FALSE(directory_.IsCurrent(first));
  result.previous.reset();
  EXPECT_THAT(reclaimer_->reclaimed, SizeIs(0)) << "a reader still holds it";
  first.reset();
  EXPECT_THAT(reclaimer_->reclaimed, SizeIs(1));
}

TEST_F(DirectoryTest, ConditionsDecideByWhetherTheKeyIsThere) {
  auto result = directory_.Commit(Make("k"), Condition::kIfPresent, false);
  EXPECT_FALSE(result.committed);
  EXPECT_EQ(result.previous, nullptr);
  EXPECT_THAT(reclaimer_->reclaimed, SizeIs(1)) << "what was not committed leaves nothing";
  const ObjectRef first = Make("k");
  EXPECT_TRUE(directory_.Commit(first, Condition::kIfAbsent, false).committed);
  result = directory_.Commit(Make("k"), Condition::kIfAbsent, false);
  EXPECT_FALSE(result.committed);
  EXPECT_EQ(result.previous, first);
  EXPECT_EQ(directory_.Find("k"), first);
  result = directory_.Commit(Make("k"), Condition::kIfPresent, false);
  EXPECT_TRUE(result.committed);
  EXPECT_EQ(result.previous, first);
}

TEST_F(DirectoryTest, KeepExpiryTakesOverThePreviousExpiryAndNothingElseDoes) {
  const WallMillis when = clock_.WallNow() + 500;
  Add("k", 100, 500);
  const ObjectRef kept = Make("k");
  directory_.Commit(kept, Condition::kAlways, true);
  EXPECT_EQ(kept->expires_at(), when);
  EXPECT_EQ(directory_.expiring(), 1U);
  const ObjectRef fresh = Add("k");
  EXPECT_EQ(fresh->expires_at(), ObjectRecord::kNever);
  EXPECT_EQ(directory_.expiring(), 0U);
  const ObjectRef other = Make("other", 100, 700);
  directory_.Commit(other, Condition::kAlways, true);
  EXPECT_EQ(other->expires_at(), clock_.WallNow() + 700) << "there was nothing to keep";
}

TEST_F(DirectoryTest, ALaterVersionIsNeverReplacedByAnEarlierOne) {
  ObjectRef early = Make("k", 10);
  const ObjectRef late = Add("k", 20);
  auto result = directory_.Commit(std::move(early), Condition::kAlways, false);
  EXPECT_TRUE(result.committed) << "it counts as done and overwritten";
  EXPECT_EQ(result.previous, late);
  EXPECT_EQ(directory_.Find("k"), late);
  EXPECT_EQ(directory_.bytes(), 20U);
  EXPECT_THAT(reclaimer_->reclaimed, SizeIs(1)) << "the earlier one is freed";
}

TEST_F(DirectoryTest, ExpiredRecordsAreAbsentForEverybodyAndCountedOnce) {
  for (const char* key : {"found", "committed", "removed", "scanned", "kept"})
    Add(key, 10, std::string_view(key) == "kept" ? 101 : 100);
  EXPECT_EQ(directory_.expiring(), 5U);
  clock_.Advance(milliseconds(100));
  EXPECT_EQ(ScanAll(2), (std::multiset<std::string>{"kept"}));
  EXPECT_EQ(counters_.Objects(GoneCause::kExpired), 0U) << "a scan does not remove";
  EXPECT_EQ(directory_.Find("found"), nullptr);
  EXPECT_EQ(directory_.Find("found"), nullptr);
  EXPECT_EQ(counters_.Objects(GoneCause::kExpired), 1U);
  const auto result = directory_.Commit(Make("committed"), Condition::kIfPresent, true);
  EXPECT_FALSE(result.committed);
  EXPECT_EQ(result.previous, nullptr);
  EXPECT_EQ(counters_.Objects(GoneCause::kExpired), 2U);
  EXPECT_EQ(directory_.Remove("removed"), nullptr);
  EXPECT_EQ(counters_.Objects(GoneCause::kExpired), 3U);
  EXPECT_EQ(directory_.size(), 2U);
  EXPECT_EQ(directory_.expiring(), 2U);
  EXPECT_EQ(directory_.bytes(), 20U);
}

TEST_F(DirectoryTest, RemoveExpiredSweepsAllShards) {
  constexpr int kKeys = 1000;
  for (int i = 0; i < kKeys; ++i) Add(fmt::format("short{}", i), 1, 100);
  for (int i = 0; i < kKeys; ++i) Add(fmt::format("long{}", i), 1, 200);
  clock_.Advance(milliseconds(100));
  std::size_t removed = 0;
  std::uint64_t cursor = 0;
  do {
    cursor = directory_.RemoveExpired(cursor, 7, &removed);
  } while (cursor != 0);
  EXPECT_EQ(removed, std::size_t{kKeys});
  EXPECT_EQ(counters_.Objects(GoneCause::kExpired), std::uint64_t{kKeys});
  EXPECT_EQ(directory_.size(), std::size_t{kKeys});
  EXPECT_THAT(reclaimer_->reclaimed, SizeIs(kKeys));
}

TEST_F(DirectoryTest, SetExpiryChangesOnlyTheCurrentRecord) {
  const ObjectRef old = Add("k");
  const ObjectRef current = Add("k");
  EXPECT_FALSE(directory_.SetExpiry(old, clock_.WallNow() + 10));
  EXPECT_EQ(old->expires_at(), ObjectRecord::kNever);
  EXPECT_EQ(directory_.expiring(), 0U);
  EXPECT_TRUE(directory_.SetExpiry(current, clock_.WallNow() + 10));
  EXPECT_TRUE(directory_.SetExpiry(current, clock_.WallNow() + 20));
  EXPECT_EQ(directory_.expiring(), 1U);
  EXPECT_TRUE(directory_.SetExpiry(current, ObjectRecord::kNever));
  EXPECT_EQ(directory_.expiring(), 0U);
}

TEST_F(DirectoryTest, KeysOfOneHashAreSeparateAndScannedTogether) {
  // Also the hashes at both ends of the range.
  for (const std::uint64_t hash : {std::uint64_t{0}, std::uint64_t{1} << 60, ~std::uint64_t{0}}) {
    for (int i = 0; i < 5; ++i) {
      directory_.Commit(MakeWithId(fmt::format("{}/{}", hash, i), ObjectId(hash)),
                        Condition::kAlways, false);
    }
  }
  EXPECT_EQ(directory_.size(), 15U);
  for (const std::size_t count : {1, 2, 5, 6, 100}) {
    const auto keys = ScanAll(count);
    EXPECT_EQ(keys.size(), 15U) << "count " << count;
    EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()).size(), 15U);
  }
}

TEST_F(DirectoryTest, ScanSeesEveryKeyThatStaysOnceWhateverIsAddedAndRemovedMeanwhile) {
  constexpr std::uint64_t kSeed = 11;
  SCOPED_TRACE(fmt::format("seed {}", kSeed));
  Random random(kSeed);
  for (int i = 0; i < 500; ++i) Add(fmt::format("stays{}", i));
  std::vector<std::string> others;
  std::map<std::string, int> seen;
  std::uint64_t cursor = 0;
  do {
    cursor = directory_.Scan(cursor, 3, [&](const ObjectRef& object) { ++seen[object->key()]; });
    for (int i = 0; i < 5; ++i) {
      others.push_back(fmt::format("other{}", random()));
      Add(others.back());
      if (random() % 2 == 0) directory_.Remove(others[random() % others.size()]);
    }
    Add(fmt::format("stays{}", random() % 500));  // overwritten is not removed
  } while (cursor != 0);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(seen[fmt::format("stays{}", i)], 1) << i;
}

TEST_F(DirectoryTest, CountersAndContentAgreeWithANaiveModelOverRandomOperations) {
  struct Entry {
    ObjectRef object;
    WallMillis expires_at;
  };
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Random random(seed);
    Evictor evictor(policy::EvictionPolicy::kClock);
    Directory directory(clock_, evictor, gone_);
    std::map<std::string, Entry> model;
    for (int step = 0; step < 2000; ++step) {
      const std::string key = fmt::format("key{}", random() % 20);
      const WallMillis now = clock_.WallNow();
      const auto is_expired = [&](const Entry& e) {
        return e.expires_at != 0 && e.expires_at <= now;
      };
      if (const auto it = model.find(key); it != model.end() && is_expired(it->second))
        model.erase(it);
      const auto found = model.find(key);
      const ObjectRef present = found == model.end() ? nullptr : found->second.object;
      switch (random() % 6) {
        case 0:
          ASSERT_EQ(directory.Remove(key), present);
          model.erase(key);
          break;
        case 1:
          ASSERT_EQ(directory.Find(key), present);
          break;
        case 2: {
          const WallMillis when = random() % 3 == 0 ? 0 : now + 1 + static_cast<int>(random() % 50);
          if (present == nullptr) break;
          ASSERT_TRUE(directory.SetExpiry(present, when));
          found->second.expires_at = when;
          break;
        }
        case 3:
          clock_.Advance(milliseconds(random() % 10));
          break;
        default: {
          const auto condition = static_cast<Condition>(random() % 3);
          const bool keep = random() % 2 == 0;
          const ObjectRef object = Make(
              key, random() % 1000, random() % 2 == 0 ? 0 : 1 + static_cast<int>(random() % 50));
          const WallMillis own = object->expires_at();
          const auto result = directory.Commit(object, condition, keep);
          ASSERT_EQ(result.previous, present);
          const bool expected = condition == Condition::kAlways ||
                                (condition == Condition::kIfPresent) == (present != nullptr);
          ASSERT_EQ(result.committed, expected);
          if (!expected) break;
          const WallMillis when = keep && present ? found->second.expires_at : own;
          model[key] = {object, when};
        }
      }
      if (step % 50 != 0) continue;
      std::size_t removed = 0;
      for (std::uint64_t cursor = 0;;) {
        cursor = directory.RemoveExpired(cursor, 100, &removed);
        if (cursor == 0) break;
      }
      std::erase_if(model, [&, at = clock_.WallNow()](const auto& e) {
        return e.second.expires_at != 0 && e.second.expires_at <= at;
      });
      std::uint64_t bytes = 0;
      std::size_t expiring = 0;
      for (const auto& [name, entry] : model) {
        bytes += entry.object->bytes();
        expiring += entry.expires_at != 0 ? 1 : 0;
      }
      ASSERT_EQ(directory.size(), model.size());
      ASSERT_EQ(directory.bytes(), bytes);
      ASSERT_EQ(directory.expiring(), expiring);
      ASSERT_EQ(evictor.size(), model.size());
    }
    const std::size_t size = directory.size();
    EXPECT_EQ(directory.Clear().size(), size);
    EXPECT_EQ(directory.size() + directory.bytes() + directory.expiring(), 0U);
  }
}

// Also what a thread sanitizer watches.
TEST(DirectoryThreads, EveryKeyThatStaysIsFoundAndScannedWhileOthersComeAndGo) {
  struct CountingReclaimer final : ChunkReclaimer {
    void Reclaim(pool::Place, const ChunkId&) override { ++count; }
    void SetExpiry(pool::Place, const ChunkId&, WallMillis) override {}
    void Flush() override {}
    std::size_t pending() const override { return 0; }
    std::atomic<int> count{0};
  };
  const SystemClock clock;
  Evictor evictor(policy::EvictionPolicy::kS3Fifo);
  GoneCounters counters;
  GoneLog gone(counters);
  Directory directory(clock, evictor, gone);
  const auto reclaimer = std::make_shared<CountingReclaimer>();
  std::atomic<std::uint64_t> version{0};
  const auto add = [&](const std::string& key) {
    auto object = RecordForTest(key, HashKey(key), Version(++version), 10, reclaimer);
    object->set_place(0, {NodeId(0), pool::Epoch(1)});
    directory.Commit(std::move(object), Condition::kAlways, false);
  };
  for (int i = 0; i < 100; ++i) add(fmt::format("stays{}", i));
  constexpr int kRounds = 2000;
  std::vector<std::thread> writers;
  for (int t = 0; t < 2; ++t) {
    writers.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        add(fmt::format("shared{}", i % 7));
        if (i % 3 == t) directory.Remove(fmt::format("shared{}", i % 5));
      }
    });
  }
  for (int round = 0; round < 20; ++round) {
    std::set<std::string> seen;
    std::uint64_t cursor = 0;
    do {
      cursor = directory.Scan(cursor, 10, [&](const ObjectRef& o) { seen.insert(o->key()); });
    } while (cursor != 0);
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(seen.contains(fmt::format("stays{}", i)));
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(directory.bytes(), 10 * directory.size());
  EXPECT_EQ(static_cast<std::size_t>(reclaimer->count), 2 * kRounds + 100 - directory.size())
      << "each version but the current ones is freed once";
}

}  // namespace
}  // namespace infinicache::cache
