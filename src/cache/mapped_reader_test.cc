// Reads of objects out of nodes' memory, which is mapped.
#include "cache/mapped_reader.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <string>

#include "cache/cluster_for_test.h"

namespace infinicache::cache {
namespace {

using Outcome = SendResult::Outcome;

std::uint64_t BytesSentToNodes(ClusterForTest& cluster) {
  std::uint64_t bytes = 0;
  for (const auto& link : cluster.worker().links().all()) bytes += link->bytes_sent();
  return bytes;
}

class MappedSizeTest : public testing::TestWithParam<std::uint64_t> {};

TEST_P(MappedSizeTest, ComesBackAsItWasWholeAndInParts) {
  const std::uint64_t size = GetParam();
  ClusterForTest cluster(MappedForTest());
  const std::string value = ContentForTest(size + 1, size);
  const ObjectRef object = cluster.Put("key", value);
  EXPECT_TRUE(cluster.Read(object).bytes == value);
  Random random(size);
  for (int i = 0; i < 12; ++i) {
    const std::uint64_t offset = i < 2 ? size - 1 - (size - 1) * i : random() % size;
    const std::uint64_t length = i == 3 ? size - offset : random() % (size - offset) + 1;
    const auto part = cluster.Read(object, offset, length);
    ASSERT_EQ(part.result.outcome, Outcome::kDone);
    EXPECT_TRUE(part.bytes == value.substr(offset, length)) << offset << " + " << length;
  }
  EXPECT_EQ(cluster.stats().mapped_reads, 13U);
  EXPECT_EQ(cluster.stats().degraded_reads, 0U);
  EXPECT_EQ(cluster.worker().budget().used(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Sizes, MappedSizeTest,
                         testing::Values(1, 63, 64, 65, 100'000, 128 * kKiB - 1, 128 * kKiB,
                                         128 * kKiB + 1, kMiB - 1, kMiB, kMiB + 1,
                                         2 * 10 * 64 * kKiB + 1, 5'000'000, 20'000'000));

class MappedLossTest : public testing::TestWithParam<std::uint64_t> {};

TEST_P(MappedLossTest, WhatIsNotMappedIsDecodedOrReadFromACopy) {
  const std::uint64_t size = GetParam();
  const std::string value = ContentForTest(size, size);
  const std::size_t width = coding::ChooseCode({10, 2}, size).width();
  for (std::size_t a = 0; a < width; ++a) {
    ClusterForTest cluster(MappedForTest());
    cluster.platform().reviving = false;
    const ObjectRef object = cluster.Put("key", value);
    cluster.Kill(object->place(a).node);
    if (a % 3 != 0) cluster.Kill(object->place((a + 1) % width).node);
    EXPECT_TRUE(cluster.Read(object).bytes == value) << a;
    EXPECT_TRUE(cluster.Read(object, size / 3, size / 2 + 1).bytes ==
                value.substr(size / 3, size / 2 + 1))
        << a;
    EXPECT_EQ(cluster.stats().mapped_reads, 2U) << a;
    EXPECT_EQ(cluster.worker().budget().used(), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Codes, MappedLossTest, testing::Values(50'000, 300'001, 1'300'001));

TEST(MappedReader, DecodingCountsAsADegradedRead) {
  ClusterForTest cluster(MappedForTest());
  cluster.platform().reviving = false;
  const ObjectRef object = cluster.Put("key", ContentForTest(1, 3'000'000));
  cluster.Read(object);
  EXPECT_EQ(cluster.stats().degraded_reads, 0U);
  cluster.Kill(object->place(4).node);
  cluster.Read(object);
  EXPECT_EQ(cluster.stats().degraded_reads, 1U);
}

TEST(MappedReader, MoreThanPLostIsALoss) {
  ClusterForTest cluster(MappedForTest());
  cluster.platform().reviving = false;
  const ObjectRef object = cluster.Put("key", ContentForTest(1, 3'000'000));
  cluster.Read(object);
  for (std::size_t i = 0; i < 3; ++i) cluster.Kill(object->place(i).node);
  EXPECT_EQ(cluster.Read(object).result.outcome, Outcome::kMissing);
  EXPECT_EQ(cluster.stats().gone.Lost(), 1U);
}

TEST(MappedReader, NodesAreAskedOnceWhereTheirChunksAre) {
  ClusterForTest cluster(MappedForTest());
  const ObjectRef object = cluster.Put("key", ContentForTest(1, 3'000'000));
  cluster.Read(object);
  const std::uint64_t sent = BytesSentToNodes(cluster);
  cluster.Read(object);
  EXPECT_EQ(BytesSentToNodes(cluster), sent);
  EXPECT_EQ(cluster.stats().mapped_reads, 2U);
}

TEST(MappedReader, AStoppedNodeDoesNotHoldUpReads) {
  ClusterForTest::Options options = MappedForTest();
  options.nodes = 12;
  options.apart = {3};
  ClusterForTest cluster(options);
  const std::string value = ContentForTest(1, 3'000'000);
  const ObjectRef known = cluster.Put("known", value);
  const ObjectRef unknown = cluster.Put("unknown", value);
  cluster.Read(known);
  cluster.Stall(true);
  EXPECT_TRUE(cluster.Read(known).bytes == value);
  EXPECT_EQ(cluster.stats().mapped_reads, 2U) << "it need not answer";
  EXPECT_TRUE(cluster.Read(unknown).bytes == value);
}

TEST(MappedReader, ACorruptStripIsNeitherSentNorLeft) {
  for (const std::uint64_t size : {std::uint64_t{50'000}, std::uint64_t{3'000'000}}) {
    ClusterForTest::Options options = MappedForTest();
    options.cache.repair = true;
    ClusterForTest cluster(options);
    const std::string value = ContentForTest(1, size);
    const ObjectRef object = cluster.Put("key", value);
    cluster.Read(object);
    const std::size_t chunk = size < kMiB ? object->version().value() % object->width() : 5;
    const pool::Place before = object->place(chunk);
    cluster.FlipBit(object, chunk, size < kMiB ? 40'000 : 140'000);
    EXPECT_TRUE(cluster.Read(object).bytes == value);
    EXPECT_EQ(cluster.stats().corrupt_strips, 1U);
    cluster.RunUntil([&] { return cluster.stats().chunks_repaired == 1U; });
    cluster.RunUntil([&] { return cluster.worker().IsWhole(*object); });
    const std::uint64_t mapped = cluster.stats().mapped_reads;
    EXPECT_TRUE(cluster.Read(object).bytes == value);
    EXPECT_EQ(cluster.stats().mapped_reads, mapped + 1) << "at its new place";
    EXPECT_GT(cluster.pool().shared(before.node).bytes_used, 0U) << "what was corrupt is put aside";
  }
}

TEST(MappedReader, MemoryOfAnInstanceThatIsGoneIsUnmapped) {
  ClusterForTest cluster(MappedForTest());
  cluster.platform().reviving = false;
  const ObjectRef object = cluster.Put("key", ContentForTest(1, 100'000));
  cluster.Read(object);
  pool::Link& link = cluster.worker().links().at(object->place(0).node);
  const std::weak_ptr<const SharedMemory> memory = link.memory();
  ASSERT_FALSE(memory.expired());
  cluster.Kill(link.node());
  cluster.RunUntil([&] { return memory.expired(); });
  EXPECT_EQ(link.memory(), nullptr);
}

TEST(MappedReader, ARestartedProxyAsksAgain) {
  ClusterForTest cluster(MappedForTest());
  const std::string value = ContentForTest(1, 3'000'000);
  cluster.Put("key", value);
  cluster.Crash();
  cluster.Restart();
  const ObjectRef object = cluster.directory().Find("key");
  ASSERT_NE(object, nullptr);
  EXPECT_TRUE(cluster.Read(object).bytes == value);
  EXPECT_EQ(cluster.stats().mapped_reads, 1U);
}

}  // namespace
}  // namespace infinicache::cache
