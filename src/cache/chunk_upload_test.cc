// Writes into memory that nodes lend.
#include "cache/chunk_upload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cache/cluster_for_test.h"
#include "cache/object_writer.h"

namespace infinicache::cache {
namespace {

using Outcome = SendResult::Outcome;

ClusterForTest::Options LendingForTest() {
  ClusterForTest::Options options = MappedForTest();
  options.lends = true;
  options.node_bytes = 64 * kMiB;
  return options;
}

// Nodes lend when they are asked to, which the first write does.
void BorrowFirst(ClusterForTest& cluster, std::size_t bytes = 5'000'000) {
  for (int i = 0; i < 20; ++i) cluster.Put("first", ContentForTest(i, bytes));
  cluster.RunUntil([&] {
    for (const auto& link : cluster.worker().links().all()) {
      if (link->stock() < 100 * kKiB) return false;
    }
    return true;
  });
}

std::uint64_t BytesSentToNodes(ClusterForTest& cluster) {
  std::uint64_t bytes = 0;
  for (const auto& link : cluster.worker().links().all()) bytes += link->bytes_sent();
  return bytes;
}

std::uint64_t StoredOnNodes(ClusterForTest& cluster) {
  std::uint64_t bytes = 0;
  for (const auto& link : cluster.worker().links().all()) bytes += link->shared().StoredBytes();
  return bytes;
}

class LentSizeTest : public testing::TestWithParam<std::uint64_t> {};

TEST_P(LentSizeTest, AValueIsStoredWithoutBeingSentAndComesBackByEachWay) {
  const std::uint64_t size = GetParam();
  ClusterForTest cluster(LendingForTest());
  BorrowFirst(cluster);
  const std::uint64_t sent = BytesSentToNodes(cluster);
  const std::uint64_t mapped = cluster.stats().mapped_writes;
  const std::string value = ContentForTest(size, size);
  const ObjectRef object = cluster.Put("key", value);
  EXPECT_EQ(cluster.stats().mapped_writes - mapped, object->width());
  EXPECT_LT(BytesSentToNodes(cluster) - sent, 20 * kKiB) << "requests for memory, no more";
  EXPECT_TRUE(cluster.Read(object).bytes == value);
  EXPECT_EQ(cluster.worker().budget().used(), 0U);
  // The nodes know it themselves: a proxy that knows nothing finds it by asking them.
  cluster.Crash();
  cluster.Restart();
  const ObjectRef found = cluster.directory().Find("key");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->map(), nullptr);
  EXPECT_TRUE(cluster.Read(found).bytes == value);
  EXPECT_EQ(cluster.stats().degraded_reads, 0U);
}

INSTANTIATE_TEST_SUITE_P(Sizes, LentSizeTest,
                         testing::Values(1, 63, 1000, 16'385, 100'000, 128 * kKiB, 128 * kKiB + 1,
                                         1'000'000, kMiB + 1, 5'000'000));

// When it goes, it leaves a gap for the next one of its size.
TEST(ChunkUpload, AChunkOfSeveralStripsLiesInOnePiece) {
  ClusterForTest cluster(LendingForTest());
  const std::string value = ContentForTest(1, 1'000'000);
  BorrowFirst(cluster, value.size());
  const ObjectRef object = cluster.Put("key", value);
  ASSERT_NE(object->map(), nullptr);
  for (std::size_t i = 0; i < object->width(); ++i) {
    const wire::ChunkLocation* location = object->map()->chunks[i].location.get();
    ASSERT_NE(location, nullptr);
    ASSERT_EQ(location->strips.size(), 2U);
    ASSERT_EQ(location->pieces.size(), 2U);
    EXPECT_EQ(location->pieces[1].offset, location->pieces[0].offset + location->pieces[0].bytes);
  }
}

TEST(ChunkUpload, ALongValueBorrowsAsItGoes) {
  ClusterForTest cluster(LendingForTest());
  BorrowFirst(cluster);
  const std::string value = ContentForTest(1, 150'000'000);  // 12.5 MB a chunk, 6 stocks
  const std::uint64_t mapped = cluster.stats().mapped_writes;
  const ObjectRef object = cluster.Put("key", value);
  EXPECT_GT(cluster.stats().mapped_writes - mapped, 8U);
  EXPECT_TRUE(cluster.Read(object).bytes == value);
}

TEST(ChunkUpload, WhatIsStoredIsAccountedAtOnceAndFreedWholly) {
  ClusterForTest cluster(LendingForTest());
  BorrowFirst(cluster);
  const ObjectRef first = cluster.directory().Find("first");
  cluster.RunUntil([&] { return StoredOnNodes(cluster) == first->StoredBytes(); });
  ObjectRef object = cluster.Put("key", ContentForTest(1, 300'000));
  EXPECT_EQ(StoredOnNodes(cluster), first->StoredBytes() + object->StoredBytes());
  object.reset();
  cluster.Put("key", ContentForTest(2, 10'000));
  const std::uint64_t small = cluster.directory().Find("key")->StoredBytes();
  cluster.RunUntil([&] { return StoredOnNodes(cluster) == first->StoredBytes() + small; });
}

TEST(ChunkUpload, AWriteThatIsGivenUpLeavesNothingBehind) {
  ClusterForTest cluster(LendingForTest());
  BorrowFirst(cluster);
  const std::uint64_t stored = cluster.directory().Find("first")->StoredBytes();
  cluster.RunUntil([&] { return StoredOnNodes(cluster) == stored; });
  for (int i = 0; i < 30; ++i) {
    ObjectWriter writer(cluster.worker(), "key", 30'000'000);
    ASSERT_TRUE(cluster.Run(writer.Begin()));
    for (int piece = 0; piece < i; ++piece) {
      const auto memory = cluster.Run(writer.Next());
      ASSERT_TRUE(memory);
      std::memset(memory->front().iov_base, i, memory->front().iov_len);
      ASSERT_TRUE(writer.Wrote(memory->front().iov_len));
    }
  }
  cluster.RunUntil([&] { return StoredOnNodes(cluster) == stored; });
  EXPECT_EQ(cluster.worker().budget().used(), 0U);
  for (const auto& link : cluster.worker().links().all())
    EXPECT_EQ(link->shared().bytes_reserved, 0U);
  const std::string value = ContentForTest(1, 3'000'000);
  EXPECT_TRUE(cluster.Read(cluster.Put("key", value)).bytes == value);
}

TEST(ChunkUpload, ANodeThatStandsStillHoldsUpNoWriteAndKnowsOfItLater) {
  ClusterForTest::Options options = LendingForTest();
  options.nodes = 3;
  options.apart = {1};
  ClusterForTest cluster(options);
  BorrowFirst(cluster, 100'000);
  const std::string value = ContentForTest(1, 100'000);
  cluster.Stall(true);
  const TimePoint begin = net::EventLoop::Now();
  const ObjectRef object = cluster.Put("key", value);
  EXPECT_LT(net::EventLoop::Now() - begin, ObjectWriter::kAnswerAfter);
  EXPECT_EQ(cluster.worker().links().responsive(), 3U);
  EXPECT_TRUE(cluster.Read(object).bytes == value);
  cluster.Stall(false);
  cluster.Crash();
  cluster.Restart();
  const ObjectRef found = cluster.directory().Find("key");
  ASSERT_NE(found, nullptr);
  EXPECT_TRUE(cluster.worker().IsWhole(*found));
}

TEST(ChunkUpload, ANodeThatEndsInTheMiddleTakesItsChunkOnly) {
  ClusterForTest cluster(LendingForTest());
  cluster.platform().reviving = false;
  BorrowFirst(cluster);
  const std::string value = ContentForTest(1, 30'000'000);
  std::optional<ObjectWriter> writer(std::in_place, cluster.worker(), "key", value.size());
  ASSERT_TRUE(cluster.Run(writer->Begin()));
  std::size_t sent = 0;
  bool killed = false;
  while (writer->bytes_left() > 0) {
    const auto memory = cluster.Run(writer->Next());
    ASSERT_TRUE(memory);
    for (const iovec& piece : *memory) {
      std::memcpy(piece.iov_base, value.data() + sent, piece.iov_len);
      sent += piece.iov_len;
      ASSERT_TRUE(writer->Wrote(piece.iov_len));
      if (writer->bytes_left() == 0) break;
    }
    if (!std::exchange(killed, sent > 10'000'000) && killed) cluster.Kill(NodeId(3));
  }
  const auto object = cluster.Run(writer->Finish());
  ASSERT_TRUE(object) << object.error().message;
  EXPECT_TRUE(cluster.Read(*object).bytes == value);
}

// The node may not use what somebody still writes to.
TEST(ChunkUpload, AfterABrokenConnectionMemoryIsLentAnewWhenNobodyHoldsAnyOfTheLastLoan) {
  ClusterForTest cluster(LendingForTest());
  BorrowFirst(cluster);
  pool::Link& link = cluster.worker().links().at(NodeId(2));
  auto held = link.lent()->Take(1000);
  ASSERT_NE(held, nullptr);
  link.socket().Shutdown();
  cluster.RunUntil([&] { return !link.connected(); });
  cluster.RunUntil([&] { return link.connected(); });
  EXPECT_EQ(link.lent(), nullptr);
  EXPECT_EQ(link.shared().bytes_lent, 0U);
  const std::string value = ContentForTest(1, 5'000'000);
  EXPECT_TRUE(cluster.Read(cluster.Put("key", value)).bytes == value);
  held.reset();
  ASSERT_NE(link.lent(), nullptr);
  BorrowFirst(cluster);
  EXPECT_GT(link.stock(), 0U);
}

// A full cache, whose memory is in pieces: values go on being stored, in pieces too.
TEST(ChunkUpload, FullNodesAreWrittenToAndStayWithinTheirLimits) {
  ClusterForTest::Options options = LendingForTest();
  options.node_bytes = 8 * kMiB;
  ClusterForTest cluster(options);
  Random random(3);
  const std::size_t sizes[] = {1, 5'000, 40'000, 100'000, 127'000, 400'000, 1'000'000};
  for (int i = 0; i < 1000; ++i) {
    const std::size_t size = sizes[random.Below(std::size(sizes))];
    const std::string key = std::to_string(random.Below(700));
    const std::string value = ContentForTest(i, size);
    const ObjectRef object = cluster.Put(key, value);
    if (i % 50 != 0) continue;
    const auto read = cluster.Read(object);
    ASSERT_TRUE(read.bytes == value) << i;
    for (const auto& link : cluster.worker().links().all())
      ASSERT_LE(link->shared().bytes_used, link->shared().bytes_limit);
  }
  EXPECT_GT(cluster.stats().gone.Objects(GoneCause::kEvicted), 0U);
  EXPECT_GT(cluster.stats().mapped_writes, 1500U);
}

// Each has begun in lent memory, and needs more of it than is left: others have it, or it is in
// pieces.
TEST(ChunkUpload, LongValuesThatAreWrittenAtOnceToFullNodesAreStoredWhole) {
  constexpr std::uint64_t kSeed = 5;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  Random random(kSeed);
  ClusterForTest::Options options = LendingForTest();
  options.node_bytes = 16 * kMiB;
  ClusterForTest cluster(options);
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 300; ++i) {
      const std::size_t size = random.Below(std::uint64_t{1} << random.Below(22));
      cluster.Put(std::to_string(random.Below(1'000'000)), ContentForTest(i, size));
    }
    const std::string value = ContentForTest(round, 16'000'000 + random.Below(10'000'000));
    std::vector<std::unique_ptr<ObjectWriter>> writers;
    for (const char* key : {"a", "b", "c", "d"}) {
      writers.push_back(std::make_unique<ObjectWriter>(cluster.worker(), key, value.size()));
      ASSERT_TRUE(cluster.Run(writers.back()->Begin()));
    }
    while (writers.back()->bytes_left() > 0) {
      std::vector<std::span<iovec>> memory;
      for (const auto& writer : writers) {
        const auto next = cluster.Run(writer->Next());
        ASSERT_TRUE(next) << round << ": " << next.error().message;
        memory.push_back(*next);
      }
      for (std::size_t i = 0; i < writers.size(); ++i) {
        std::size_t at = value.size() - writers[i]->bytes_left();
        for (const iovec& piece : memory[i]) {
          const std::size_t bytes = std::min(piece.iov_len, value.size() - at);
          std::memcpy(piece.iov_base, value.data() + at, bytes);
          at += bytes;
        }
        const auto wrote = writers[i]->Wrote(at - (value.size() - writers[i]->bytes_left()));
        ASSERT_TRUE(wrote) << round << ": " << wrote.error().message;
      }
    }
    for (const auto& writer : writers) {
      const auto object = cluster.Run(writer->Finish());
      ASSERT_TRUE(object) << round << ": " << object.error().message;
      EXPECT_TRUE(cluster.worker().IsWhole(**object)) << round << " was stored in part";
      EXPECT_TRUE(cluster.Read(*object).bytes == value);
    }
  }
  EXPECT_GT(cluster.stats().mapped_writes, 1500U);
}

}  // namespace
}  // namespace infinicache::cache
