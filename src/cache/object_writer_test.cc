#include "cache/object_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <set>
#include <string>

#include "cache/cluster_for_test.h"

namespace infinicache::cache {
namespace {

constexpr std::uint64_t kRowBytes = 10 * 64 * kKiB;  // of 10+2

// A write of which a test decides how far it goes.
class Upload {
 public:
  Upload(ClusterForTest& cluster, const std::string& value)
      : cluster_(cluster),
        value_(value),
        writer_(std::in_place, cluster.worker(), "key", value.size()) {
    const Status begun = cluster.Run(writer_->Begin());
    CHECK(begun, "{}", begun.error().message);
  }
  Status Send(std::size_t bytes) {
    while (bytes > 0) {
      const auto memory = cluster_.Run(writer_->Next());
      if (!memory) return tl::make_unexpected(memory.error());
      const iovec& piece = memory->front();
      const std::size_t count = std::min(bytes, piece.iov_len);
      std::memcpy(piece.iov_base, value_.data() + sent_, count);
      sent_ += count;
      bytes -= count;
      if (auto status = writer_->Wrote(count); !status) return status;
    }
    return {};
  }
  Result<ObjectRef> Finish() {
    if (auto sent = Send(value_.size() - sent_); !sent) return tl::make_unexpected(sent.error());
    return cluster_.Run(writer_->Finish());
  }
  void Drop() { writer_.reset(); }

 private:
  ClusterForTest& cluster_;
  const std::string& value_;
  std::optional<ObjectWriter> writer_;
  std::size_t sent_ = 0;
};

std::set<std::uint32_t> NodesOf(const ObjectRecord& object) {
  std::set<std::uint32_t> nodes;
  for (std::size_t i = 0; i < object.width(); ++i) nodes.insert(object.place(i).node.value());
  return nodes;
}

TEST(ObjectWriter, PlacesTheChunksOnDistinctNodesAndCountsTheWrite) {
  ClusterForTest cluster;
  const std::string value = ContentForTest(1, 2'000'000);
  Upload upload(cluster, value);
  const auto object = upload.Finish();
  ASSERT_TRUE(object);
  EXPECT_EQ(NodesOf(**object).size(), 12U);
  EXPECT_TRUE(cluster.worker().IsWhole(**object));
  EXPECT_EQ(cluster.directory().Find("key"), nullptr) << "nobody sees it yet";
  EXPECT_EQ(cluster.stats().objects_written, 1U);
  EXPECT_EQ(cluster.stats().bytes_written, 2'000'000U);
  EXPECT_EQ(cluster.stats().writes_degraded, 0U);
}

// A decoded row is read again when it is sent, and should still be in the L2 cache.
TEST(ObjectWriter, ARowOfAWideCodeHasShorterStrips) {
  for (const auto& [code, strip_bytes] :
       {std::pair{coding::Code{10, 2}, 64 * kKiB}, std::pair{coding::Code{4, 2}, 128 * kKiB}}) {
    ClusterForTest cluster({.cache = {.code = code}});
    ObjectWriter writer(cluster.worker(), "key", 20'000'000);
    ASSERT_TRUE(cluster.Run(writer.Begin()));
    const auto row = cluster.Run(writer.Next());
    ASSERT_TRUE(row);
    std::uint64_t bytes = 0;
    for (const iovec& piece : *row) bytes += piece.iov_len;
    EXPECT_EQ(bytes, code.data * strip_bytes);
  }
}

TEST(ObjectWriter, AWriteThatIsGivenUpLeavesNothingBehind) {
  ClusterForTest cluster;
  for (const std::size_t size : {1'000UL, 300'000UL, 2'000'000UL, 20'000'000UL}) {
    const std::string value = ContentForTest(size, size);
    for (const std::size_t sent : {std::size_t{0}, size / 2, size - 1, size}) {
      Upload upload(cluster, value);
      ASSERT_TRUE(upload.Send(sent));
      upload.Drop();
      cluster.AwaitNothingLeft();
    }
  }
  EXPECT_EQ(cluster.stats().writes_failed, 16U);
}

TEST(ObjectWriter, AFinishedWriteThatIsNotCommittedLeavesNothingBehind) {
  ClusterForTest cluster;
  const std::string value = ContentForTest(1, 2'000'000);
  {
    Upload upload(cluster, value);
    ASSERT_TRUE(upload.Finish());
  }
  cluster.AwaitNothingLeft();
}

TEST(ObjectWriter, ANodeThatFailsWhileAllRowsAreAtHandIsReplaced) {
  ClusterForTest cluster;
  cluster.platform().reviving = false;
  const std::string value = ContentForTest(1, 8 * kRowBytes);
  Upload upload(cluster, value);
  ASSERT_TRUE(upload.Send(6 * kRowBytes));
  cluster.Kill(NodeId(0));
  cluster.Kill(NodeId(1));
  const auto object = upload.Finish();
  ASSERT_TRUE(object) << object.error().message;
  EXPECT_EQ(NodesOf(**object).size(), 12U);
  EXPECT_TRUE(cluster.worker().IsWhole(**object));
  EXPECT_EQ(cluster.stats().writes_degraded, 0U);
  EXPECT_TRUE(cluster.Read(*object).bytes == value);
}

TEST(ObjectWriter, ANodeThatFailsLaterIsLeftOutAndItsChunkRepairedAfterTheCommit) {
  ClusterForTest cluster;
  const std::string value = ContentForTest(1, 12 * kRowBytes);
  std::size_t degraded = 0;
  // A node is killed that has a chunk of it, most likely.
  while (degraded == 0) {
    Upload upload(cluster, value);
    ASSERT_TRUE(upload.Send(10 * kRowBytes));
    cluster.Kill(NodeId(2));
    const auto object = upload.Finish();
    ASSERT_TRUE(object) << object.error().message;
    degraded = cluster.stats().writes_degraded;
    EXPECT_EQ(cluster.worker().IsWhole(**object), degraded == 0);
    const auto committed =
        cluster.worker().Commit(*object, Directory::Condition::kAlways, false).committed;
    EXPECT_TRUE(committed);
    EXPECT_TRUE(cluster.Read(*object).bytes == value);
    cluster.RunUntil([&] { return cluster.worker().IsWhole(**object); });
    EXPECT_TRUE(cluster.Read(*object).bytes == value);
    cluster.RunUntil([&] { return cluster.worker().links().connected() == 14; });
  }
  cluster.RunUntil([&] { return cluster.stats().chunks_repaired == 1; });
}

TEST(ObjectWriter, AChunkLostBetweenTheWriteAndTheCommitIsRepaired) {
  ClusterForTest cluster;
  const std::string value = ContentForTest(1, 2'000'000);
  Upload upload(cluster, value);
  const auto object = upload.Finish();
  ASSERT_TRUE(object);
  cluster.Kill((*object)->place(4).node);
  cluster.worker().Commit(*object, Directory::Condition::kAlways, false);
  cluster.RunUntil([&] { return cluster.stats().chunks_repaired == 1; });
  EXPECT_TRUE(cluster.worker().IsWhole(**object));
}

TEST(ObjectWriter, FailsWhenMoreNodesFailThanParityAllowsAndLeavesNothing) {
  ClusterForTest cluster;
  cluster.platform().reviving = false;
  const std::string value = ContentForTest(1, 16 * kRowBytes);
  Upload upload(cluster, value);
  ASSERT_TRUE(upload.Send(10 * kRowBytes));
  for (std::uint32_t i = 0; i < 4; ++i) cluster.Kill(NodeId(i));  // 10 live; 11 are needed
  const auto object = upload.Finish();
  ASSERT_FALSE(object);
  EXPECT_EQ(object.error().code, ErrorCode::kUnavailable);
  upload.Drop();
  cluster.AwaitNothingLeft();
}

TEST(ObjectWriter, TooFewLiveNodesAreUnavailable) {
  ClusterForTest cluster;
  cluster.platform().reviving = false;
  for (std::uint32_t i = 0; i < 4; ++i) cluster.Kill(NodeId(i));
  cluster.RunUntil([&] { return cluster.worker().links().connected() == 10; });
  const auto object = cluster.TryPut("key", ContentForTest(1, 2'000'000));
  ASSERT_FALSE(object);
  EXPECT_EQ(object.error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(cluster.TryPut("key", "a small one needs fewer"));
}

TEST(ObjectWriter, AStoppedNodeIsLeftOutAfterAWhile) {
  ClusterForTest::Options options;
  options.apart = {5};
  options.nodes = 12;
  ClusterForTest cluster(options);
  cluster.Stall(true);
  const std::string value = ContentForTest(1, 3'000'000);
  const ObjectRef object = cluster.Put("key", value);
  EXPECT_FALSE(cluster.worker().IsWhole(*object));
  EXPECT_EQ(cluster.stats().writes_degraded, 1U);
  EXPECT_TRUE(cluster.Read(object).bytes == value);
  cluster.Stall(false);
  cluster.RunUntil([&] { return cluster.worker().IsWhole(*object); });
}

TEST(ObjectWriter, FullNodesFailTheWriteAsOutOfMemoryAndDeletesMakeRoom) {
  ClusterForTest::Options options;
  options.node_bytes = 4 * kMiB;
  options.cache.eviction = policy::EvictionPolicy::kNone;
  ClusterForTest cluster(options);
  const std::string value = ContentForTest(1, 10'000'000);
  std::size_t stored = 0;
  for (;; ++stored) {
    ASSERT_LT(stored, 10U);
    const auto object = cluster.TryPut("key" + std::to_string(stored), value);
    if (object) continue;
    EXPECT_EQ(object.error().code, ErrorCode::kOutOfMemory);
    break;
  }
  EXPECT_GE(stored, 3U);
  cluster.RunUntil([&] { return cluster.ChunksOnNodes() == 12 * stored; });
  EXPECT_EQ(cluster.BytesReserved(), 0U);
  // Room is given back without waiting for the gathered deletes.
  cluster.directory().Clear();
  EXPECT_TRUE(cluster.TryPut("key", value));
  cluster.directory().Clear();
  cluster.AwaitNothingLeft();
}

TEST(ObjectWriter, ANodeThatIsFullerThanItTellsIsReplacedByAnother) {
  ClusterForTest::Options options;
  options.node_bytes = 4 * kMiB;
  options.cache.repair = false;
  options.cache.eviction = policy::EvictionPolicy::kNone;
  ClusterForTest cluster(options);
  const std::string filling = ContentForTest(1, kMiB);
  while (cluster.TryPut("key" + std::to_string(cluster.directory().size()), filling)) continue;
  // The proxy believes that three full nodes are empty, and that all others have what they have.
  const std::string small = ContentForTest(2, 100'000);
  for (std::uint32_t i = 0; i < 3; ++i) cluster.pool().shared()[i].bytes_used = 0;
  const auto object = cluster.TryPut("small", small);
  if (object) {
    EXPECT_TRUE(cluster.Read(*object).bytes == small);
  } else {
    EXPECT_EQ(object.error().code, ErrorCode::kOutOfMemory) << object.error().message;
  }
  EXPECT_EQ(cluster.BytesReserved(), 0U);
}

TEST(ObjectWriter, RefusesWhatIsLargerThanTheLimit) {
  ClusterForTest::Options options;
  options.cache.object_bytes_max = 1000;
  ClusterForTest cluster(options);
  EXPECT_TRUE(cluster.TryPut("key", ContentForTest(1, 1000)));
  const auto object = cluster.TryPut("key", ContentForTest(1, 1001));
  ASSERT_FALSE(object);
  EXPECT_EQ(object.error().code, ErrorCode::kTooLarge);
}

TEST(ObjectWriter, StreamsThroughABudgetThatIsSmallerThanTheObject) {
  ClusterForTest::Options options;
  options.cache.budget_bytes_per_loop = 2 * kMiB;
  ClusterForTest cluster(options);
  const std::string value = ContentForTest(1, 20'000'000);
  const ObjectRef object = cluster.Put("key", value);
  EXPECT_TRUE(cluster.Read(object).bytes == value);
  cluster.RemoveChunk(object, 0);
  EXPECT_TRUE(cluster.Read(object).bytes == value);
}

TEST(ObjectWriter, NodesAreToldTheExpiryThatIsKnownBeforeTheValue) {
  ClusterForTest cluster;
  const WallMillis when = cluster.clock().WallNow() + 1000;
  auto written = cluster.Run(WriteObject(cluster.worker(), "key", "value", when));
  ASSERT_TRUE(written);
  EXPECT_EQ((*written)->expires_at(), when);
  EXPECT_EQ(cluster.ExpiriesOnNodes("key"), std::vector<WallMillis>(3, when));
  // Options that come behind a large value are told after the commit.
  cluster.worker().Commit(*written, Directory::Condition::kAlways, false, when + 1);
  cluster.RunUntil(
      [&] { return cluster.ExpiriesOnNodes("key") == std::vector<WallMillis>(3, when + 1); });
  // So is the expiry that is taken over.
  auto next = cluster.Run(WriteObject(cluster.worker(), "key", "next"));
  cluster.worker().Commit(*next, Directory::Condition::kAlways, true);
  written = next;
  cluster.RunUntil(
      [&] { return cluster.ExpiriesOnNodes("key") == std::vector<WallMillis>(3, when + 1); });
}

}  // namespace
}  // namespace infinicache::cache
