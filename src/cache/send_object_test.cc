// Objects written to and read from real nodes: writer, reader and relay together.
#include "cache/send_object.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "cache/cluster_for_test.h"
#include "cache/object_reader.h"
#include "cache/object_writer.h"
#include "cache/splice_relay.h"

namespace infinicache::cache {
namespace {

using std::chrono::milliseconds;
using Outcome = SendResult::Outcome;

constexpr std::uint64_t kTwoRowsBytes = 2 * 10 * 64 * kKiB;  // full rows of 10+2

ClusterForTest::Options WithoutRepair() {
  ClusterForTest::Options options;
  options.cache.repair = false;
  return options;
}

class SizeTest : public testing::TestWithParam<std::uint64_t> {};

TEST_P(SizeTest, ComesBackAsItWasWholeAndInParts) {
  const std::uint64_t size = GetParam();
  ClusterForTest cluster;
  const std::string value = ContentForTest(size + 1, size);
  const ObjectRef object = cluster.Put("key", value);
  EXPECT_EQ(cluster.BytesReserved(), 0U);
  EXPECT_EQ(cluster.ChunksOnNodes(), object->width());
  const auto whole = cluster.Read(object);
  ASSERT_EQ(whole.result.outcome, Outcome::kDone);
  EXPECT_TRUE(whole.bytes == value);
  Random random(size);
  for (int i = 0; size > 0 && i < 12; ++i) {
    const std::uint64_t offset = i < 2 ? size - 1 - (size - 1) * i : random() % size;
    const std::uint64_t length = i == 3 ? size - offset : random() % (size - offset) + 1;
    const auto part = cluster.Read(object, offset, length);
    ASSERT_EQ(part.result.outcome, Outcome::kDone);
    EXPECT_TRUE(part.bytes == value.substr(offset, length)) << offset << " + " << length;
  }
  EXPECT_EQ(cluster.stats().gone.Lost(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Sizes, SizeTest,
                         testing::Values(0, 1, 63, 64, 65, 128 * kKiB - 1, 128 * kKiB,
                                         128 * kKiB + 1, kMiB - 1, kMiB, kMiB + 1,
                                         kTwoRowsBytes - 1, kTwoRowsBytes, kTwoRowsBytes + 1,
                                         5'000'000, 20'000'000));

class LossTest : public testing::TestWithParam<std::uint64_t> {};

TEST_P(LossTest, AnyLossOfUpToPChunksGivesTheRightBytes) {
  const std::uint64_t size = GetParam();
  ClusterForTest cluster(WithoutRepair());
  const std::string value = ContentForTest(size, size);
  const std::size_t width = coding::ChooseCode(cluster.cache().options().code, size).width();
  for (std::uint64_t pattern = 1; pattern < std::uint64_t{1} << width; ++pattern) {
    if (std::popcount(pattern) > 2) continue;
    const ObjectRef object = cluster.Put("key", value);
    for (std::size_t i = 0; i < width; ++i) {
      if ((pattern >> i & 1) != 0) cluster.RemoveChunk(object, i);
    }
    const auto whole = cluster.Read(object);
    ASSERT_EQ(whole.result.outcome, Outcome::kDone) << "lost " << pattern;
    ASSERT_TRUE(whole.bytes == value) << "lost " << pattern;
    const auto part = cluster.Read(object, size / 3, size / 2 + 1);
    ASSERT_TRUE(part.bytes == value.substr(size / 3, size / 2 + 1)) << "lost " << pattern;
  }
  EXPECT_EQ(cluster.stats().gone.Lost(), 0U);
  EXPECT_EQ(cluster.stats().broken_reads, 0U);
}

TEST_P(LossTest, MoreThanPLostIsAMissCountedAsOneLossAndTheKeyIsGone) {
  const std::uint64_t size = GetParam();
  ClusterForTest cluster(WithoutRepair());
  const ObjectRef object = cluster.Put("key", ContentForTest(size, size));
  for (std::size_t i = 0; i < 3; ++i) cluster.RemoveChunk(object, i);
  const auto reply = cluster.Read(object);
  EXPECT_EQ(reply.result.outcome, Outcome::kMissing);
  EXPECT_EQ(reply.bytes, "") << "nothing was sent";
  EXPECT_EQ(cluster.directory().Find("key"), nullptr);
  EXPECT_EQ(cluster.Read(object).result.outcome, Outcome::kMissing);
  EXPECT_EQ(cluster.stats().gone.Lost(), 1U);
  EXPECT_EQ(cluster.stats().misses_lost, 2U);
}

INSTANTIATE_TEST_SUITE_P(Codes, LossTest, testing::Values(50'000, 300'001, 1'300'001));

TEST(SendObject, NodesThatEndAreReadAround) {
  ClusterForTest cluster(WithoutRepair());
  cluster.platform().reviving = false;
  const std::string value = ContentForTest(2, 5'000'000);
  const ObjectRef object = cluster.Put("key", value);
  cluster.Kill(object->place(0).node);
  cluster.Kill(object->place(7).node);
  EXPECT_TRUE(cluster.Read(object).bytes == value);
  cluster.Kill(object->place(11).node);
  EXPECT_EQ(cluster.Read(object).result.outcome, Outcome::kMissing);
  EXPECT_EQ(cluster.stats().gone.Lost(), 1U);
}

TEST(SendObject, ALossIsNamedWithItsCauseAndWhereItsChunksWere) {
  ClusterForTest cluster(WithoutRepair());
  cluster.platform().reviving = false;
  const std::string value = ContentForTest(3, 300'000);
  const ObjectRef corrupt = cluster.Put("corrupt", value);
  const ObjectRef reclaimed = cluster.Put("reclaimed", value);
  for (std::size_t i = 0; i < 3; ++i) cluster.FlipBit(corrupt, i, 0);
  std::vector<NodeId> nodes;
  for (std::size_t i = 0; i < 3; ++i) nodes.push_back(corrupt->place(i).node);
  EXPECT_EQ(cluster.Read(corrupt).result.outcome, Outcome::kMissing);
  for (std::size_t i = 0; i < 3; ++i) cluster.Kill(reclaimed->place(i).node);
  EXPECT_EQ(cluster.Read(reclaimed).result.outcome, Outcome::kMissing);

  const GoneLog::News news = cluster.cache().shared().gone.Take();
  ASSERT_EQ(news.losses.size(), 2U);
  EXPECT_EQ(news.losses[0].key, "corrupt");
  EXPECT_EQ(news.losses[0].cause, GoneCause::kCorrupt);
  EXPECT_EQ(news.losses[0].bytes, value.size());
  ASSERT_EQ(news.losses[0].chunks.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(news.losses[0].chunks[i].node, nodes[i]);
  EXPECT_EQ(news.losses[1].cause, GoneCause::kReclaimed);
  ASSERT_EQ(news.losses[1].chunks.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(news.losses[1].chunks[i], reclaimed->last_place(i));
}

class CorruptTest : public testing::TestWithParam<std::uint64_t> {};

TEST_P(CorruptTest, ACorruptChunkIsReadAroundCountedAndRepaired) {
  const std::uint64_t size = GetParam();
  ClusterForTest cluster;
  const std::string value = ContentForTest(size, size);
  const ObjectRef object = cluster.Put("key", value);
  // The replica that is asked first, or the first data chunk.
  const std::size_t chunk =
      object->layout().code.data == 1 ? object->version().value() % object->width() : 0;
  cluster.FlipBit(object, chunk, object->layout().ChunkBytes(chunk) / 2);
  EXPECT_TRUE(cluster.Read(object).bytes == value);
  EXPECT_EQ(cluster.stats().corrupt_strips, 1U);
  cluster.RunUntil([&] { return cluster.stats().chunks_repaired == 1; });
  EXPECT_TRUE(cluster.worker().IsWhole(*object));
  const std::uint64_t degraded = cluster.stats().degraded_reads;
  EXPECT_TRUE(cluster.Read(object).bytes == value);
  EXPECT_EQ(cluster.stats().degraded_reads, degraded);
}

INSTANTIATE_TEST_SUITE_P(Codes, CorruptTest, testing::Values(100, 300'001, 5'000'000));

class StallTest : public testing::TestWithParam<std::uint64_t> {};

TEST_P(StallTest, ANodeThatStopsAnsweringIsRacedByAnother) {
  const std::uint64_t size = GetParam();
  ClusterForTest::Options options;
  options.apart = {3};
  options.nodes = 12;  // each holds a chunk of a wide object
  ClusterForTest cluster(options);
  const std::string value = ContentForTest(size, size);
  // Until the node set apart holds a chunk that is asked first. An overwrite stays where it is.
  ObjectRef object;
  bool asked_first = false;
  for (int n = 0; !asked_first; ++n) {
    object = cluster.Put("key/" + std::to_string(n), value);
    const std::size_t data = object->layout().code.data;
    for (std::size_t i = 0; i < object->width(); ++i) {
      const bool first = data == 1 ? object->version().value() % object->width() == i : i < data;
      if (first && object->place(i).node == NodeId(3)) asked_first = true;
    }
  }
  cluster.Stall(true);
  EXPECT_TRUE(cluster.Read(object).bytes == value);
  EXPECT_GE(cluster.stats().hedges, 1U);
  EXPECT_EQ(cluster.stats().gone.Lost(), 0U);
  EXPECT_TRUE(cluster.Read(object).bytes == value) << "and again, while it is suspected";
  cluster.Stall(false);
  cluster.RunUntil([&] { return !cluster.worker().links().at(NodeId(3)).suspect(); });
  EXPECT_TRUE(cluster.Read(object).bytes == value);
}

INSTANTIATE_TEST_SUITE_P(Codes, StallTest, testing::Values(50'000, 300'001, 5'000'000));

// A client that takes what it is told to, of a reply that is under way.
class SlowClient {
 public:
  SlowClient(ClusterForTest& cluster, const ObjectRef& object)
      : cluster_(cluster),
        pair_(net::ConnectedPair(cluster.loop(), {64 * 1024, 0})),
        sending_(cluster.loop(), SendObject(cluster.worker(), object, 0, object->bytes(),
                                            pair_.acceptor, output_, "<", ">")) {}

  void Take(std::size_t bytes) {
    const std::size_t before = taken_.size();
    taken_.resize(before + bytes);
    const auto status = cluster_.Run(
        pair_.dialer.ReadAll(std::as_writable_bytes(std::span(taken_)).subspan(before)));
    CHECK(status, "{}", status.error().message);
  }
  // Waits until the client's and the server's socket buffers are full.
  void AwaitBlocked() {
    std::uint64_t before = 0;
    do {
      before = pair_.acceptor.bytes_written();
      cluster_.Run(net::WithValue(cluster_.loop().Sleep(milliseconds(20))));
    } while (before != pair_.acceptor.bytes_written());
  }
  SendResult Finish() {
    cluster_.RunUntil([&] { return sending_.done(); });
    return sending_.Get();
  }
  void GoAway() { pair_.dialer.Close(); }
  const std::string& taken() const { return taken_; }

 private:
  ClusterForTest& cluster_;
  net::SocketPair pair_;
  std::string output_;
  std::string taken_;
  net::Started<SendResult> sending_;
};

enum class Trouble : std::uint8_t { kKill, kCutLink, kStall, kRemoveChunk };

class MidRelayTest : public testing::TestWithParam<Trouble> {};

TEST_P(MidRelayTest, TroubleAfterTheHeadStillGivesTheClientExactlyTheRightBytes) {
  ClusterForTest::Options options;
  options.apart = {3};
  options.nodes = 12;
  options.node_bytes = 64 * kMiB;
  ClusterForTest cluster(options);
  const std::string value = ContentForTest(9, 20'000'000);
  for (const std::size_t taken : {1, 100'000, 1'234'567, 9'000'001}) {
    SCOPED_TRACE(fmt::format("after {} bytes", taken));
    ObjectRef object = cluster.Put("key", value);
    for (; object->place(10).node == NodeId(3) || object->place(11).node == NodeId(3);)
      object = cluster.Put("key", value);
    std::size_t chunk = 0;
    while (object->place(chunk).node != NodeId(3)) ++chunk;
    ASSERT_TRUE(SpliceRelay::Suits(cluster.worker(), *object));
    SlowClient client(cluster, object);
    client.Take(1 + taken);
    switch (GetParam()) {
      case Trouble::kKill:
        cluster.Kill(NodeId(3));
        break;
      case Trouble::kCutLink:
        cluster.CutLink(NodeId(3));
        break;
      case Trouble::kStall:
        cluster.Stall(true);
        break;
      case Trouble::kRemoveChunk:
        cluster.RemoveChunk(object, chunk);
        break;
    }
    client.Take(value.size() + 1 - taken);
    EXPECT_EQ(client.Finish().outcome, Outcome::kDone);
    EXPECT_TRUE(client.taken() == "<" + value + ">");
    cluster.Stall(false);
    cluster.RunUntil([&] {
      const pool::Link& link = cluster.worker().links().at(NodeId(3));
      return link.connected() && !link.suspect() && cluster.OpenRequests() == 0 &&
             cluster.worker().IsWhole(*object);
    });
  }
  EXPECT_EQ(cluster.stats().broken_reads, 0U);
}

INSTANTIATE_TEST_SUITE_P(Troubles, MidRelayTest,
                         testing::Values(Trouble::kKill, Trouble::kCutLink, Trouble::kStall,
                                         Trouble::kRemoveChunk));

TEST(SendObject, AClientThatGoesAwayMidReadLeavesNoRequestAndNoBorrowedLink) {
  ClusterForTest cluster(WithoutRepair());
  const std::string value = ContentForTest(4, 20'000'000);
  ObjectRef object = cluster.Put("key", value);
  ASSERT_TRUE(SpliceRelay::Suits(cluster.worker(), *object));
  for (int i = 0; i < 3; ++i) {
    SCOPED_TRACE(i == 2 ? "decoded" : "relayed");
    if (i == 2) cluster.RemoveChunk(object, 0);
    SlowClient client(cluster, object);
    client.Take(1 + 500'000 * i);
    client.GoAway();
    EXPECT_EQ(client.Finish().outcome, Outcome::kBroken);
    EXPECT_EQ(cluster.OpenRequests(), 0U);
    EXPECT_TRUE(cluster.Read(object).bytes == value);
    // A strip that was on its way in still was received.
    cluster.RunUntil([&] { return cluster.worker().budget().used() == 0; });
  }
  object.reset();
  cluster.directory().Clear();
  cluster.AwaitNothingLeft();
}

TEST(SendObject, TwoReadersOfTheSameNodesShareTheirLinks) {
  ClusterForTest cluster(WithoutRepair());
  const std::string first = ContentForTest(1, 20'000'000);
  const std::string second = ContentForTest(2, 19'000'001);
  const ObjectRef a = cluster.Put("a", first);
  const ObjectRef b = cluster.Put("b", second);
  // The first is under way and its client takes nothing, so its strips wait in the nodes' sockets.
  SlowClient slow(cluster, a);
  slow.Take(1000);
  slow.AwaitBlocked();
  EXPECT_TRUE(cluster.Read(b).bytes == second);
  const ObjectRef c = cluster.Put("c", second);
  SlowClient other(cluster, c);
  other.Take(1);
  slow.Take(first.size() + 2 - 1000);
  EXPECT_EQ(slow.Finish().outcome, Outcome::kDone);
  EXPECT_TRUE(slow.taken() == "<" + first + ">");
  other.Take(second.size() + 1);
  EXPECT_EQ(other.Finish().outcome, Outcome::kDone);
  EXPECT_TRUE(other.taken() == "<" + second + ">");
  EXPECT_EQ(cluster.OpenRequests(), 0U);
  EXPECT_EQ(cluster.worker().budget().used(), 0U);
}

TEST(SendObject, AnOverwrittenObjectIsReadToItsEndAndThenFreed) {
  ClusterForTest cluster(WithoutRepair());
  const std::string value = ContentForTest(1, 20'000'000);
  ObjectRef object = cluster.Put("key", value);
  {
    SlowClient slow(cluster, object);
    object.reset();
    slow.Take(1);
    cluster.Put("key", "short");
    slow.Take(value.size() + 1);
    EXPECT_EQ(slow.Finish().outcome, Outcome::kDone);
    EXPECT_TRUE(slow.taken() == "<" + value + ">");
  }
  cluster.RunUntil([&] { return cluster.ChunksOnNodes() == 3; });
  cluster.directory().Clear();
  cluster.AwaitNothingLeft();
}

}  // namespace
}  // namespace infinicache::cache
