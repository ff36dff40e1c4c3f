#include "node/inventory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "net/testing.h"
#include "node/connection.h"
#include "node/peer_for_test.h"
#include "wire/inventory.h"

namespace infinicache::node {
namespace {

using wire::FrameHeader;
using wire::FrameType;
using wire::InventoryEntry;

constexpr std::string_view kSecret = "the pool's secret";

wire::ChunkMeta Meta(std::string key, std::uint64_t bytes = 0) {
  return {.key = std::move(key),
          .object_bytes = bytes,
          .chunk_bytes = bytes,
          .strip_bytes = kStripBytesMax,
          .data = 1,
          .parity = 2};
}

// The numbers are spread, so that the order of identities is not that of coming.
ChunkId Id(std::uint64_t number) {
  return {ObjectId(number * 0x9E3779B97F4A7C15), Version(number), 0};
}

class InventoryTest : public testing::Test {
 protected:
  void Put(std::uint64_t number, std::string key) {
    auto chunk = store_.Begin(Id(number), Meta(std::move(key)));
    ASSERT_TRUE(chunk) << chunk.error().message;
    store_.Commit(std::move(*chunk));
  }
  void PutMany(std::uint64_t count, std::size_t key_bytes) {
    for (std::uint64_t i = 1; i <= count; ++i) Put(i, std::string(key_bytes, 'k'));
  }
  static std::vector<InventoryEntry> Entries(const Inventory::Page& page) {
    EXPECT_LE(page.entries.size(), wire::kFrameMetaBytesMax);
    auto entries = wire::ParseInventoryPage(page.entries);
    EXPECT_TRUE(entries) << entries.error().message;
    return std::move(*entries);
  }

  ChunkStore store_{64 * kMiB};
  Inventory inventory_;
};

TEST_F(InventoryTest, AnEmptyStoreHasOneEmptyPage) {
  const Inventory::Page page = inventory_.Next(store_, std::nullopt);
  EXPECT_TRUE(page.end);
  EXPECT_EQ(page.entries, "");
  EXPECT_EQ(page.newest, Version());
}

TEST_F(InventoryTest, PagesListEveryCompleteChunkOnceInOrder) {
  PutMany(5000, 50);
  auto incomplete = store_.Begin(Id(9999), Meta("on its way", 1000));
  ASSERT_TRUE(incomplete);
  std::vector<InventoryEntry> all;
  std::optional<ChunkId> after;
  std::size_t pages = 0;
  for (bool end = false; !end; ++pages) {
    const Inventory::Page page = inventory_.Next(store_, after);
    const auto entries = Entries(page);
    all.insert(all.end(), entries.begin(), entries.end());
    EXPECT_EQ(page.newest, Version(5000));
    EXPECT_EQ(page.last, all.back().chunk);
    after = page.last;
    end = page.end;
  }
  EXPECT_GT(pages, 5U);
  EXPECT_EQ(all.size(), 5000U);
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end(),
                             [](const auto& a, const auto& b) { return a.chunk < b.chunk; }));
  std::uint64_t stored = 0;
  for (const InventoryEntry& entry : all) stored += entry.stored_bytes;
  incomplete->reset();
  EXPECT_EQ(stored, store_.bytes_used());
}

TEST_F(InventoryTest, AnEntryHoldsWhatTheChunkWasStoredWith) {
  auto chunk = store_.Begin(Id(1), Meta("photo", 0));
  store_.Commit(std::move(*chunk));
  store_.SetExpiry(Id(1), 77);
  const auto entries = Entries(inventory_.Next(store_, std::nullopt));
  ASSERT_EQ(entries.size(), 1U);
  wire::ChunkMeta expected = Meta("photo");
  expected.expires_at_ms = 77;
  EXPECT_EQ(entries[0].meta, expected);
  EXPECT_EQ(entries[0].chunk, Id(1));
}

TEST_F(InventoryTest, ChunksRemovedMeanwhileAreLeftOutAndLaterOnesNotListed) {
  PutMany(3000, 100);
  Inventory::Page page = inventory_.Next(store_, std::nullopt);
  std::size_t listed = Entries(page).size();
  ASSERT_FALSE(page.end);
  for (std::uint64_t i = 1; i <= 3000; ++i)
    if (page.last < Id(i)) store_.Remove(Id(i));
  Put(100'000, "later");
  while (!page.end) {
    page = inventory_.Next(store_, page.last);
    listed += Entries(page).size();
  }
  EXPECT_LT(listed, 3000U);
  EXPECT_EQ(listed, store_.chunks() - 1);
}

TEST_F(InventoryTest, AnotherLinkGoesOnWhereTheFirstOneEnded) {
  PutMany(3000, 100);
  const Inventory::Page first = inventory_.Next(store_, std::nullopt);
  const Inventory::Page next = inventory_.Next(store_, first.last);
  Inventory other;
  EXPECT_EQ(other.Next(store_, first.last).entries, next.entries);
}

TEST_F(InventoryTest, TheLongestKeysAreListed) {
  for (std::uint64_t i = 1; i <= 3; ++i) Put(i, std::string(kKeyBytesMax, 'k'));
  std::size_t listed = 0;
  std::optional<ChunkId> after;
  for (bool end = false; !end;) {
    const Inventory::Page page = inventory_.Next(store_, after);
    listed += Entries(page).size();
    after = page.last;
    end = page.end;
  }
  EXPECT_EQ(listed, 3U);
}

// On a link.
class InventoryLinkTest : public InventoryTest {
 protected:
  InventoryLinkTest() {
    net::SocketPair pair = net::ConnectedPair(loop_);
    connection_ = std::make_unique<Connection>(context_, std::move(pair.acceptor));
    peer_ = std::make_unique<PeerForTest>(loop_, std::move(pair.dialer));
    running_ = std::make_unique<net::Started<Error>>(loop_, connection_->Run());
    EXPECT_TRUE(peer_->Authenticate(kSecret));
  }
  ~InventoryLinkTest() override {
    connection_->Close();
    net::RunToEnd(loop_);
  }

  static FrameHeader Request(FrameType type, std::uint64_t request) {
    FrameHeader header;
    header.type = type;
    header.request = request;
    return header;
  }
  static FrameHeader FirstPage(std::uint64_t request) {
    FrameHeader header = Request(FrameType::kInventory, request);
    header.flags = wire::kFlagFirst;
    return header;
  }

  net::EventLoop loop_{"test"};
  SessionHost sessions_{loop_, InstanceId(99), {}, [] { return wire::NodeFill{}; }, {}};
  NodeContext context_{store_, sessions_, NodeId(3), InstanceId(99), std::string(kSecret), false};
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<PeerForTest> peer_;
  std::unique_ptr<net::Started<Error>> running_;
};

TEST_F(InventoryLinkTest, IsAskedForPageByPageWithOtherRequestsBetween) {
  PutMany(3000, 100);
  std::size_t listed = 0;
  FrameHeader request = FirstPage(1);
  for (;;) {
    peer_->Queue(request);
    peer_->Queue(Request(FrameType::kPing, 1000));
    ASSERT_TRUE(peer_->Flush());
    const auto answer = peer_->Receive();
    ASSERT_EQ(answer.header.type, FrameType::kInventoryReply);
    EXPECT_EQ(answer.header.request, request.request);
    EXPECT_EQ(answer.header.offset, 3000U) << "the newest version";
    listed += wire::ParseInventoryPage(answer.payload).value().size();
    EXPECT_EQ(peer_->Receive().header.type, FrameType::kPong);
    if ((answer.header.flags & wire::kFlagLast) != 0) break;
    request = Request(FrameType::kInventory, request.request + 1);
    request.chunk = answer.header.chunk;
  }
  EXPECT_EQ(listed, 3000U);
}

TEST_F(InventoryLinkTest, APeerThatAsksAndDoesNotReadIsCutOff) {
  PutMany(3000, 1000);
  for (std::uint64_t i = 0; i < 1000; ++i) peer_->Queue(FirstPage(i));
  (void)peer_->Flush();
  EXPECT_EQ(running_->Get().code, ErrorCode::kProtocol);
}

TEST_F(InventoryLinkTest, ExpiriesAreNotedAndUnknownChunksIgnored) {
  Put(1, "a");
  const std::vector<wire::ChunkExpiry> list = {{Id(1), 5000}, {Id(2), wire::kDeletedMark}};
  const auto answer = peer_->Call(Request(FrameType::kSetExpiry, 9), wire::EncodeExpiryList(list));
  EXPECT_EQ(answer.header.type, FrameType::kExpirySet);
  EXPECT_EQ(answer.header.request, 9U);
  EXPECT_EQ(store_.Find(Id(1))->meta().expires_at_ms, 5000);
  EXPECT_EQ(store_.chunks(), 1U);
}

TEST_F(InventoryTest, AMarkIsNotReplacedByAnExpiry) {
  Put(1, "a");
  EXPECT_TRUE(store_.SetExpiry(Id(1), wire::kDeletedMark));
  EXPECT_TRUE(store_.SetExpiry(Id(1), 5000));
  EXPECT_EQ(store_.Find(Id(1))->meta().expires_at_ms, wire::kDeletedMark);
}

TEST_F(InventoryLinkTest, AnExpiryListOfAnotherLengthClosesTheLink) {
  ASSERT_TRUE(peer_->Send(Request(FrameType::kSetExpiry, 9), "x"));
  EXPECT_EQ(running_->Get().code, ErrorCode::kProtocol);
}

}  // namespace
}  // namespace infinicache::node
