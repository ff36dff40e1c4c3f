#include "node/sync_source.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>

#include "coding/crc32c.h"
#include "net/handshake.h"
#include "net/testing.h"
#include "node/node_server.h"
#include "node/peer_for_test.h"

namespace infinicache::node {
namespace {

constexpr std::string_view kSecret = "the pool's secret";
constexpr InstanceId kSelf(77);

ChunkId ChunkOf(std::uint64_t object, std::uint64_t version = 1) {
  return {ObjectId(object), Version(version), 2};
}

// A store that is backed up to a node's instance.
class SyncSourceTest : public testing::Test {
 protected:
  SyncSourceTest() { Restart(16 * kMiB); }
  ~SyncSourceTest() override {
    peer_->Stop();
    net::RunToEnd(loop_);
  }

  void Restart(std::uint64_t bytes) {
    if (peer_) {
      peer_->Stop();
      net::RunToEnd(loop_);
    }
    NodeOptions options;
    options.memory_bytes = bytes;
    options.secret = kSecret;
    peer_ = std::make_unique<NodeServer>(loop_, options);
    CHECK(peer_->Start());
  }

  void Put(const ChunkId& id, std::size_t bytes, std::int64_t expires_at_ms = 0) {
    constexpr std::uint32_t kStrip = 64 * kKiB;
    const std::string content = ContentForTest(id.object.value(), bytes);
    auto chunk = store_.Begin(id, {"key", bytes, bytes, kStrip, 1, 0, expires_at_ms});
    for (std::size_t at = 0; at < bytes; at += kStrip) {
      const std::string strip = content.substr(at, kStrip);
      std::size_t copied = 0;
      const auto extents = store_.NextStrip(**chunk, at, strip.size());
      for (const Extent& extent : *extents) {
        std::memcpy(extent.data, strip.data() + copied, extent.bytes);
        copied += extent.bytes;
      }
      const auto crc = coding::Crc32c(std::as_bytes(std::span(strip)), 0);
      ASSERT_TRUE(store_.StripReceived(**chunk, crc));
    }
    store_.Commit(*chunk);
  }

  net::Socket Dial(std::uint16_t number) {
    auto socket =
        RunTask(loop_, net::Socket::Connect(loop_, peer_->address(), {}, net::TestDeadline()));
    CHECK(socket);
    net::FrameReader reader(*socket, wire::kFrameHeaderBytes);
    CHECK(RunTask(loop_,
                  net::HandshakeAsDialer(*socket, reader, kSecret, net::TestDeadline(), number)));
    return std::move(*socket);
  }

  Status Sync(InstanceId self = kSelf) {
    net::Socket socket = Dial(net::kSyncLink);
    SyncSource source(store_, self, socket, net::TestDeadline(), 0);
    Status status = RunTask(loop_, source.Run());
    totals_ = source.totals();
    return status;
  }

  // What a user reads at the peer: bytes, or nothing.
  std::string At(const ChunkId& id, std::size_t bytes) {
    PeerForTest user(loop_, Dial(net::kFirstDataLink));
    std::string got;
    for (const auto& answer : user.Get(id, 0, bytes)) got += answer.payload;
    return got;
  }
  void PutAtPeer(const ChunkId& id) {
    PeerForTest user(loop_, Dial(net::kFirstDataLink));
    ASSERT_EQ(user.Put(id, {"key", 4, 4, 4, 1, 0, 0}, "user").header.type,
              wire::FrameType::kStored);
  }

  net::EventLoop loop_{"test"};
  ChunkStore store_{16 * kMiB};
  std::unique_ptr<NodeServer> peer_;
  wire::SyncTotals totals_;
};

TEST_F(SyncSourceTest, AnEmptyPeerGetsEverythingStripByStrip) {
  Put(ChunkOf(1), 200'000);
  Put(ChunkOf(2), 0);
  Put(ChunkOf(3), 10);
  ASSERT_TRUE(Sync());
  EXPECT_EQ(totals_.chunks, 3U);
  EXPECT_EQ(totals_.chunk_bytes, 200'010U);
  EXPECT_TRUE(At(ChunkOf(1), 200'000) == ContentForTest(1, 200'000));
  EXPECT_TRUE(At(ChunkOf(3), 10) == ContentForTest(3, 10));
}

TEST_F(SyncSourceTest, ASecondRoundMovesWhatHasChanged) {
  for (std::uint64_t i = 1; i <= 100; ++i) Put(ChunkOf(i), 50'000);
  ASSERT_TRUE(Sync());
  EXPECT_EQ(totals_.chunks, 100U);
  const std::uint64_t everything = totals_.traffic_bytes;
  store_.Remove(ChunkOf(1));
  Put(ChunkOf(1, 2), 50'000);
  store_.SetExpiry(ChunkOf(2), 1234);
  ASSERT_TRUE(Sync());
  EXPECT_EQ(totals_.chunks, 1U);
  EXPECT_EQ(totals_.removals, 1U);
  EXPECT_EQ(totals_.expiries, 1U);
  EXPECT_EQ(totals_.compared, 0U) << "the sequence says it";
  EXPECT_LT(totals_.traffic_bytes, everything / 90);
  EXPECT_EQ(At(ChunkOf(1), 50'000), "") << "an old version does not stay";
  EXPECT_TRUE(At(ChunkOf(1, 2), 50'000) == ContentForTest(1, 50'000));
  ASSERT_TRUE(Sync());
  EXPECT_EQ(totals_.chunks + totals_.removals + totals_.expiries, 0U);
}

TEST_F(SyncSourceTest, ACopyOfAnotherInstanceIsCompared) {
  for (std::uint64_t i = 1; i <= 10; ++i) Put(ChunkOf(i), 1000);
  ASSERT_TRUE(Sync(InstanceId(1)));
  store_.Remove(ChunkOf(4));
  Put(ChunkOf(11), 1000);
  ASSERT_TRUE(Sync(InstanceId(2)));
  EXPECT_EQ(totals_.compared, 10U);
  EXPECT_EQ(totals_.chunks, 1U);
  EXPECT_EQ(totals_.removals, 1U);
  EXPECT_EQ(At(ChunkOf(4), 1000), "");
}

TEST_F(SyncSourceTest, WhatOthersWroteToThePeerIsNoCopyAndGoes) {
  Put(ChunkOf(1), 1000);
  ASSERT_TRUE(Sync());
  PutAtPeer(ChunkOf(50));
  ASSERT_TRUE(Sync());
  EXPECT_EQ(totals_.compared, 2U) << "its sequence does not count any more";
  EXPECT_EQ(totals_.removals, 1U);
  EXPECT_EQ(totals_.chunks, 0U);
  EXPECT_EQ(At(ChunkOf(50), 4), "");
}

TEST_F(SyncSourceTest, ARoundThatWasCutShortKeepsWhatArrivedAndTheNextOneSendsTheRest) {
  for (std::uint64_t i = 1; i <= 40; ++i) Put(ChunkOf(i), 100'000);
  {
    net::Socket socket = Dial(net::kSyncLink);
    SyncSource source(store_, kSelf, socket, net::TestDeadline(), 20'000'000);
    net::Started<Status> round(loop_, source.Run());
    net::RunUntil(loop_, [&] { return source.totals().chunks == 10; });
    source.Abort();
    EXPECT_FALSE(round.Get());
  }
  ASSERT_TRUE(Sync());
  EXPECT_GT(totals_.compared, 0U);
  EXPECT_LT(totals_.chunks, 40U);
  EXPECT_EQ(totals_.chunks + totals_.compared, 40U);
  for (std::uint64_t i = 1; i <= 40; ++i)
    EXPECT_TRUE(At(ChunkOf(i), 100'000) == ContentForTest(i, 100'000));
}

TEST_F(SyncSourceTest, ARoundEndsAtItsDeadline) {
  for (std::uint64_t i = 1; i <= 40; ++i) Put(ChunkOf(i), 100'000);
  net::Socket socket = Dial(net::kSyncLink);
  // Would take a minute.
  SyncSource source(store_, kSelf, socket, net::EventLoop::Now() + std::chrono::milliseconds(50),
                    64 * kKiB);
  const Status status = RunTask(loop_, source.Run());
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kDeadlineExceeded);
}

TEST_F(SyncSourceTest, APeerThatIsFullSaysSoAndIsNotCurrent) {
  Restart(4 * kMiB);
  for (std::uint64_t i = 1; i <= 60; ++i) Put(ChunkOf(i), 100'000);
  const Status status = Sync();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kOutOfMemory);
  EXPECT_TRUE(At(ChunkOf(60), 100'000) == ContentForTest(60, 100'000)) << "the latest come first";
  for (std::uint64_t i = 1; i <= 40; ++i) store_.Remove(ChunkOf(i));
  EXPECT_TRUE(Sync()) << "what is left finds room";
}

TEST_F(SyncSourceTest, WhatIsChangedInARoundBelongsToTheNext) {
  for (std::uint64_t i = 1; i <= 40; ++i) Put(ChunkOf(i), 100'000);
  net::Socket socket = Dial(net::kSyncLink);
  SyncSource source(store_, kSelf, socket, net::TestDeadline(), 20'000'000);
  net::Started<Status> round(loop_, source.Run());
  net::RunUntil(loop_, [&] { return source.totals().chunks == 10; });
  Put(ChunkOf(100), 1000);
  store_.Remove(ChunkOf(40));  // was sent: the latest come first
  store_.Remove(ChunkOf(1));   // was not
  ASSERT_TRUE(round.Get());
  EXPECT_EQ(source.totals().chunks, 39U);
  ASSERT_TRUE(Sync());
  EXPECT_EQ(totals_.chunks, 1U);
  EXPECT_EQ(totals_.removals, 2U);
  EXPECT_EQ(At(ChunkOf(40), 100'000), "");
}

}  // namespace
}  // namespace infinicache::node
