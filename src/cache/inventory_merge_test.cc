#include "cache/inventory_merge.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "cache/directory.h"

namespace infinicache::cache {
namespace {

using wire::InventoryEntry;

constexpr WallMillis kNow = 1'000'000;
constexpr Version kSinceEver(1);
constexpr std::size_t kParityMin = 1;

pool::Place PlaceOf(std::size_t source) {
  return {NodeId(static_cast<std::uint32_t>(source)), pool::Epoch(1)};
}

std::vector<pool::Place> Sources(std::size_t count) {
  std::vector<pool::Place> places;
  for (std::size_t i = 0; i < count; ++i) places.push_back(PlaceOf(i));
  return places;
}

InventoryEntry Entry(const std::string& key, std::uint64_t version, std::uint16_t index,
                     coding::Code code = {2, 1}, WallMillis expires_at = 0) {
  const auto layout = coding::StripeLayout::For(1000, code);
  return {.chunk = {HashKey(key), Version(version), index},
          .stored_bytes = 1,
          .meta = {.key = key,
                   .object_bytes = 1000,
                   .chunk_bytes = layout.ChunkBytes(index),
                   .strip_bytes = layout.strip_bytes,
                   .data = static_cast<std::uint8_t>(code.data),
                   .parity = static_cast<std::uint8_t>(code.parity),
                   .expires_at_ms = expires_at}};
}

class InventoryMergeTest : public testing::Test {
 protected:
  using Lists = std::vector<std::vector<InventoryEntry>>;

  // All of the lists, in one page each. `since`: of the first sources; those of all others are
  // older than whatever is listed.
  static InventoryMerge::Settled MergeAll(Lists lists, std::size_t nodes_lost = 0,
                                          const std::vector<std::uint64_t>& since = {}) {
    InventoryMerge merge(Sources(lists.size()), nodes_lost, kParityMin);
    for (std::size_t i = 0; i < lists.size(); ++i) {
      merge.SetSince(i, i < since.size() ? Version(since[i]) : kSinceEver);
      std::sort(lists[i].begin(), lists[i].end(),
                [](const auto& a, const auto& b) { return a.chunk < b.chunk; });
      merge.AddPage(i, lists[i], lists[i].empty() ? ObjectId() : lists[i].back().chunk.object,
                    true);
    }
    EXPECT_TRUE(merge.done());
    return merge.TakeSettled(kNow);
  }
};

TEST_F(InventoryMergeTest, DDistinctChunksOfTheNewestVersionAreTheValue) {
  const auto settled = MergeAll({{Entry("k", 7, 0)}, {Entry("k", 7, 2)}, {}});
  ASSERT_EQ(settled.found.size(), 1U);
  const InventoryMerge::Found& found = settled.found[0];
  EXPECT_EQ(found.key, "k");
  EXPECT_EQ(found.version, Version(7));
  EXPECT_EQ(found.layout, coding::StripeLayout::For(1000, {2, 1}));
  EXPECT_EQ(found.places, (std::vector<pool::Place>{PlaceOf(0), {}, PlaceOf(1)}));
  EXPECT_TRUE(settled.orphans.empty());
}

TEST_F(InventoryMergeTest, AChunkThatIsThereTwiceCountsOnce) {
  const auto settled = MergeAll({{Entry("k", 7, 1)}, {Entry("k", 7, 1)}});
  EXPECT_TRUE(settled.found.empty());
  EXPECT_EQ(settled.torn.size(), 1U);
  EXPECT_EQ(settled.orphans.size(), 2U);
  const auto whole = MergeAll({{Entry("k", 7, 1)}, {Entry("k", 7, 1)}, {Entry("k", 7, 0)}});
  ASSERT_EQ(whole.found.size(), 1U);
  ASSERT_EQ(whole.orphans.size(), 1U);
  EXPECT_EQ(whole.orphans[0].place, PlaceOf(1));
}

TEST_F(InventoryMergeTest, ANewerTornVersionDoesNotHideTheValueAndAnOlderOneIsNotTorn) {
  const auto settled =
      MergeAll({{Entry("k", 7, 0), Entry("k", 9, 0), Entry("k", 3, 0)}, {Entry("k", 7, 1)}});
  ASSERT_EQ(settled.found.size(), 1U);
  EXPECT_EQ(settled.found[0].version, Version(7));
  EXPECT_EQ(settled.torn.size(), 1U);
  EXPECT_EQ(settled.orphans.size(), 2U);
}

TEST_F(InventoryMergeTest, OneDeletedChunkDeletesItsVersionAndAllOlderOnesButNoNewer) {
  const Lists deleted = {{Entry("k", 7, 0, {2, 1}, wire::kDeletedMark), Entry("k", 3, 0)},
                         {Entry("k", 7, 1), Entry("k", 3, 1)}};
  auto settled = MergeAll(deleted);
  EXPECT_TRUE(settled.found.empty());
  EXPECT_TRUE(settled.torn.empty());
  EXPECT_EQ(settled.orphans.size(), 4U);
  Lists with_newer = deleted;
  with_newer[0].push_back(Entry("k", 8, 0));
  with_newer[1].push_back(Entry("k", 8, 1));
  settled = MergeAll(with_newer);
  ASSERT_EQ(settled.found.size(), 1U);
  EXPECT_EQ(settled.found[0].version, Version(8));
}

TEST_F(InventoryMergeTest, AVoidVersionIsPassedOver) {
  const auto settled = MergeAll({{Entry("k", 7, 0, {2, 1}, wire::kVoidMark), Entry("k", 3, 0)},
                                 {Entry("k", 7, 1), Entry("k", 3, 1)}});
  ASSERT_EQ(settled.found.size(), 1U);
  EXPECT_EQ(settled.found[0].version, Version(3));
  EXPECT_TRUE(settled.torn.empty());
}

TEST_F(InventoryMergeTest, TheEarliestExpiryCountsAndAnExpiredVersionHidesOlderOnes) {
  auto settled = MergeAll({{Entry("k", 7, 0, {2, 1}, kNow + 50)}, {Entry("k", 7, 1)}});
  ASSERT_EQ(settled.found.size(), 1U);
  EXPECT_EQ(settled.found[0].expires_at, kNow + 50);
  settled = MergeAll({{Entry("k", 7, 0, {2, 1}, kNow), Entry("k", 3, 0)},
                      {Entry("k", 7, 1, {2, 1}, kNow + 9), Entry("k", 3, 1)}});
  EXPECT_TRUE(settled.found.empty());
  EXPECT_EQ(settled.expired.size(), 1U);
  EXPECT_EQ(settled.orphans.size(), 4U);
}

TEST_F(InventoryMergeTest, WhatLostNodesMayHaveHeldIsReclaimedNotTorn) {
  EXPECT_EQ(MergeAll({{Entry("k", 7, 0)}}, 0).torn.size(), 1U);
  EXPECT_EQ(MergeAll({{Entry("k", 7, 0)}}, 1).reclaimed.size(), 1U);
  EXPECT_EQ(MergeAll({{Entry("k", 7, 0, {4, 2})}}, 2).torn.size(), 1U);
}

// A value that was answered must not give way to the one before.
TEST_F(InventoryMergeTest, AVersionThatMayHaveBeenWholeHidesOlderOnesAndIsALoss) {
  const Lists lists = {{Entry("k", 7, 0), Entry("k", 3, 0)}, {Entry("k", 3, 1)}, {}};
  const auto node_gone = MergeAll(lists, 1);
  EXPECT_TRUE(node_gone.found.empty());
  EXPECT_EQ(node_gone.reclaimed.size(), 1U);
  EXPECT_EQ(node_gone.orphans.size(), 3U);
  // The third is its node's since version 8 only: before, another instance may have had chunk 1.
  const auto younger = MergeAll(lists, 0, {1, 1, 8});
  EXPECT_TRUE(younger.found.empty());
  EXPECT_EQ(younger.reclaimed.size(), 1U);
  // It was there when version 7 was written, and would have what it was sent.
  const auto older = MergeAll(lists, 0, {1, 1, 6});
  ASSERT_EQ(older.found.size(), 1U);
  EXPECT_EQ(older.found[0].version, Version(3));
  EXPECT_EQ(older.torn.size(), 1U);
}

// With 4+2 and one parity chunk at least a write is answered when it has stored five.
TEST_F(InventoryMergeTest, AWriteThatCannotHaveStoredEnoughToBeAnsweredIsTorn) {
  const coding::Code code{4, 2};
  Lists lists = {{Entry("k", 7, 0, code)}, {Entry("k", 7, 1, code)}, {Entry("k", 7, 2, code)}};
  EXPECT_EQ(MergeAll(lists, 1).torn.size(), 1U);
  EXPECT_EQ(MergeAll(lists, 2).reclaimed.size(), 1U);
}

TEST_F(InventoryMergeTest, ANodeThatHasAChunkOfTheVersionHasNotLostAnother) {
  const auto settled =
      MergeAll({{Entry("k", 7, 0, {3, 1}), Entry("k", 3, 0)}, {Entry("k", 3, 1)}}, 1, {9, 1});
  ASSERT_EQ(settled.found.size(), 1U) << "one chunk and one lost node are not three";
  EXPECT_EQ(settled.found[0].version, Version(3));
}

TEST_F(InventoryMergeTest, AWriteThatLostNodesCannotCompleteIsTornAndAVoidOneHidesNothing) {
  const auto torn = MergeAll({{Entry("k", 7, 0, {4, 2}), Entry("k", 3, 0)}, {Entry("k", 3, 1)}}, 2);
  EXPECT_EQ(torn.found.size(), 1U);
  EXPECT_EQ(torn.torn.size(), 1U);
  const auto never_was = MergeAll(
      {{Entry("k", 7, 0, {2, 1}, wire::kVoidMark), Entry("k", 3, 0)}, {Entry("k", 3, 1)}}, 1);
  EXPECT_EQ(never_was.found.size(), 1U);
}

TEST_F(InventoryMergeTest, CopiesThatMayBeBehindMakeAValueOnlyWithDChunksElsewhere) {
  const Lists lists = {{Entry("k", 7, 0)}, {Entry("k", 7, 1)}, {Entry("k", 7, 2)}};
  const auto one_copy = MergeAll(lists, 0, {0, 1, 1});
  ASSERT_EQ(one_copy.found.size(), 1U);
  EXPECT_EQ(one_copy.found[0].places[0], PlaceOf(0)) << "its bytes are those of the version";
  const auto two_copies = MergeAll(lists, 0, {0, 0, 1});
  EXPECT_TRUE(two_copies.found.empty());
  EXPECT_EQ(two_copies.reclaimed.size(), 1U);
  EXPECT_EQ(two_copies.orphans.size(), 3U);
}

TEST_F(InventoryMergeTest, ContradictoryEntriesAreOrphans) {
  InventoryEntry other_key = Entry("k", 7, 0);
  other_key.meta.key = "x";
  InventoryEntry index = Entry("k", 7, 0);
  index.chunk.index = 3;
  InventoryEntry bytes = Entry("k", 7, 0);
  ++bytes.meta.chunk_bytes;
  InventoryEntry strip = Entry("k", 7, 0);
  strip.meta.strip_bytes = 100;
  for (const InventoryEntry& bad : {other_key, index, bytes, strip}) {
    const auto settled = MergeAll({{bad}});
    EXPECT_EQ(settled.orphans.size(), 1U);
    EXPECT_TRUE(settled.found.empty() && settled.torn.empty());
  }
}

TEST_F(InventoryMergeTest, NothingIsSettledWhileANodeHasNotListedTheKey) {
  InventoryMerge merge(Sources(3), 0, kParityMin);
  for (std::size_t i = 0; i < 3; ++i) merge.SetSince(i, kSinceEver);
  const ObjectId key = HashKey("k");
  merge.AddPage(0, {Entry("k", 7, 0)}, key, true);
  merge.AddPage(1, {Entry("k", 7, 1)}, key, true);
  EXPECT_TRUE(merge.TakeSettled(kNow).found.empty()) << "the third may have a newer version";
  merge.AddPage(2, {}, key, false);
  EXPECT_TRUE(merge.TakeSettled(kNow).found.empty()) << "the object may go on in the next page";
  merge.AddPage(2, {}, ObjectId(key.value() + 1), false);
  EXPECT_EQ(merge.TakeSettled(kNow).found.size(), 1U);
  EXPECT_FALSE(merge.done());
}

TEST_F(InventoryMergeTest, AnEndedInstanceTakesItsChunksAlongAndOneGivenUpDoesNot) {
  for (const bool drop : {true, false}) {
    InventoryMerge merge(Sources(2), 0, kParityMin);
    for (std::size_t i = 0; i < 2; ++i) merge.SetSince(i, kSinceEver);
    const ObjectId key = HashKey("k");
    merge.AddPage(0, {Entry("k", 7, 0)}, key, true);
    merge.AddPage(1, {Entry("k", 7, 1)}, key, false);
    if (drop) {
      merge.Drop(1);
    } else {
      merge.GiveUp(1);
    }
    EXPECT_TRUE(merge.done());
    const auto settled = merge.TakeSettled(kNow);
    EXPECT_EQ(settled.found.size(), drop ? 0U : 1U);
    EXPECT_EQ(settled.reclaimed.size(), drop ? 1U : 0U);
  }
}

TEST_F(InventoryMergeTest, AFastNodeWaitsAndTheSlowestNever) {
  InventoryMerge merge(Sources(2), 0, kParityMin);
  EXPECT_TRUE(merge.MayAsk(0) && merge.MayAsk(1));
  const std::string low = HashKey("a") < HashKey("b") ? "a" : "b";
  const std::string high = low == "a" ? "b" : "a";
  for (std::size_t page = 0; page < InventoryMerge::kPagesAhead; ++page) {
    EXPECT_TRUE(merge.MayAsk(0));
    merge.AddPage(0, {Entry(high, 100 + page, 0)}, HashKey(high), false);
    // One object that takes many pages.
    merge.AddPage(1, {Entry(low, 100 + page, 0)}, HashKey(low), false);
    merge.TakeSettled(kNow);
  }
  EXPECT_FALSE(merge.MayAsk(0));
  EXPECT_TRUE(merge.MayAsk(1));
  merge.AddPage(1, {}, HashKey(low), true);
  merge.TakeSettled(kNow);
  EXPECT_TRUE(merge.MayAsk(0)) << "it is the slowest now";
}

// Whatever the order of the pages, the outcome is that of looking at everything at once.
TEST_F(InventoryMergeTest, PagesInAnyOrderSettleEachKeyOnceAsANaiveModelDoes) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Random random(seed);
    const std::size_t nodes = 3 + random() % 5;
    const std::size_t lost = random() % 3;
    Lists lists(nodes);
    std::vector<std::uint64_t> since(nodes, 10);
    for (std::uint64_t& of_node : since)
      if (random() % 4 == 0) of_node += random() % 4;
    std::map<std::string, std::map<std::uint64_t, std::vector<InventoryEntry>>> all;
    std::map<std::pair<std::string, std::uint64_t>, std::set<std::size_t>> holders;
    for (std::size_t k = 0; k < 30; ++k) {
      const std::string key = fmt::format("key {}", k);
      for (std::uint64_t version = 11 + random() % 2; version < 14; version += 1 + random() % 2) {
        const std::size_t first = random() % nodes;
        for (std::uint16_t index = 0; index < 3; ++index) {
          if (random() % 4 == 0) continue;
          const WallMillis choices[] = {
              0, 0, 0, 0, kNow + 5, kNow - 5, wire::kDeletedMark, wire::kVoidMark};
          const InventoryEntry entry = Entry(key, version, index, {2, 1}, choices[random() % 8]);
          lists[(first + index) % nodes].push_back(entry);
          all[key][version].push_back(entry);
          holders[{key, version}].insert((first + index) % nodes);
        }
      }
    }
    // The model.
    std::map<std::string, std::uint64_t> expected;
    std::size_t entries = 0;
    std::size_t kept = 0;
    for (const auto& [key, versions] : all) {
      bool decided = false;
      for (auto version = versions.rbegin(); version != versions.rend(); ++version) {
        const auto& chunks = version->second;
        entries += chunks.size();
        const auto has = [&](auto predicate) {
          return std::any_of(chunks.begin(), chunks.end(), [&](const InventoryEntry& entry) {
            return predicate(entry.meta.expires_at_ms);
          });
        };
        if (decided) continue;
        if (has([](WallMillis at) { return at == wire::kDeletedMark; })) {
          decided = true;
        } else if (has([](WallMillis at) { return at == wire::kVoidMark; })) {
          continue;
        } else if (chunks.size() < 2) {
          decided = lost > 0;
          for (std::size_t i = 0; i < nodes; ++i)
            decided |= since[i] >= version->first && !holders[{key, version->first}].contains(i);
        } else {
          decided = true;
          if (has([](WallMillis at) { return at > 0 && at <= kNow; })) continue;
          expected[key] = version->first;
          kept += chunks.size();
        }
      }
    }
    // Pages of random sizes, from sources in a random order.
    InventoryMerge merge(Sources(nodes), lost, kParityMin);
    for (std::size_t i = 0; i < nodes; ++i) merge.SetSince(i, Version(since[i]));
    std::vector<std::size_t> at(nodes, 0);
    for (auto& list : lists)
      std::sort(list.begin(), list.end(),
                [](const auto& a, const auto& b) { return a.chunk < b.chunk; });
    std::map<std::string, std::uint64_t> found;
    std::size_t orphans = 0;
    const auto take = [&] {
      auto settled = merge.TakeSettled(kNow);
      for (const auto& object : settled.found)
        EXPECT_TRUE(found.emplace(object.key, object.version.value()).second) << object.key;
      orphans += settled.orphans.size();
    };
    while (!merge.done()) {
      const std::size_t source = random() % nodes;
      if (!merge.MayAsk(source)) continue;
      const auto begin = lists[source].begin() + static_cast<std::ptrdiff_t>(at[source]);
      const std::size_t count =
          std::min<std::size_t>(random() % 6 + 1, lists[source].size() - at[source]);
      at[source] += count;
      std::vector<InventoryEntry> page(begin, begin + static_cast<std::ptrdiff_t>(count));
      const ObjectId listed = page.empty() ? ObjectId() : page.back().chunk.object;
      merge.AddPage(source, std::move(page), listed, at[source] == lists[source].size());
      if (random() % 2 == 0) take();
    }
    take();
    EXPECT_EQ(found, expected);
    EXPECT_EQ(orphans, entries - kept);
  }
}

}  // namespace
}  // namespace infinicache::cache
