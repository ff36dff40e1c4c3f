#include "node/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "net/testing.h"
#include "node/peer_for_test.h"
#include "wire/inventory.h"
#include "wire/session_frames.h"

namespace infinicache::node {
namespace {

using Answer = PeerForTest::Answer;
using ::testing::HasSubstr;
using wire::FrameHeader;
using wire::FrameType;

constexpr std::string_view kSecret = "the pool's secret";
constexpr std::uint32_t kStrip = kStripBytesMax;
constexpr int kKernelBuffer = 2 * kStrip;

ChunkId Id(std::uint64_t version, std::uint16_t index = 0) {
  return {ObjectId(7), Version(version), index};
}

wire::ChunkMeta Meta(std::uint64_t chunk_bytes, std::uint32_t strip_bytes = kStrip) {
  return {.key = "key",
          .object_bytes = chunk_bytes,
          .chunk_bytes = chunk_bytes,
          .strip_bytes = strip_bytes,
          .data = 1,
          .parity = 2};
}

FrameHeader Header(FrameType type, std::uint64_t request = 0, const ChunkId& id = {}) {
  FrameHeader header;
  header.type = type;
  header.request = request;
  header.chunk = id;
  return header;
}

FrameHeader GetHeader(std::uint64_t request, const ChunkId& id, std::uint64_t length) {
  FrameHeader header = Header(FrameType::kGet, request, id);
  header.length = length;
  return header;
}

std::string DeleteList(const std::vector<ChunkId>& ids) {
  std::string list;
  for (const ChunkId& id : ids) {
    const auto append = [&list](std::uint64_t value, std::size_t bytes) {
      for (std::size_t i = 0; i < bytes; ++i) list += static_cast<char>(value >> (8 * i));
    };
    append(id.object.value(), 8);
    append(id.version.value(), 8);
    append(id.index, 2);
  }
  return list;
}

void ExpectError(const Answer& answer, ErrorCode code) {
  EXPECT_EQ(answer.header.type, FrameType::kError);
  EXPECT_EQ(answer.header.status, code);
  EXPECT_EQ(answer.payload, "");
}

class ConnectionTest : public testing::Test {
 protected:
  // The node's end of one link, running, and the proxy's.
  struct Link {
    Link(ConnectionTest& test, net::SocketPair pair)
        : connection(std::make_unique<Connection>(test.context_, std::move(pair.acceptor))),
          peer(test.loop_, std::move(pair.dialer)),
          running(test.loop_, connection->Run()) {}

    std::unique_ptr<Connection> connection;
    PeerForTest peer;
    net::Started<Error> running;
  };

  ~ConnectionTest() override {
    for (const auto& link : links_) {
      if (link->connection) link->connection->Close();
    }
    net::RunToEnd(loop_);
  }

  Link& Connect(const net::SocketOptions& options = {}) {
    return *links_.emplace_back(std::make_unique<Link>(*this, net::ConnectedPair(loop_, options)));
  }
  PeerForTest& ConnectedPeer(const net::SocketOptions& options = {}) {
    Link& link = Connect(options);
    const auto status = link.peer.Authenticate(kSecret);
    EXPECT_TRUE(status) << status.error().message;
    return link.peer;
  }
  // Bounded kernel buffers and a peer that reads when it is asked to: the node's sender stops
  // early. (Buffers below a loopback segment of 64 KiB would make TCP wait for its timers.)
  PeerForTest& SlowPeer() { return ConnectedPeer({.buffer_bytes = kKernelBuffer}); }

  // Expects that the node ends `link` for a reason that contains `message`.
  void ExpectClosed(Link& link, ErrorCode code, std::string_view message) {
    const Error reason = link.running.Get();
    EXPECT_EQ(reason.code, code) << reason.message;
    EXPECT_THAT(reason.message, HasSubstr(std::string(message)));
    link.connection.reset();
    EXPECT_FALSE(link.peer.TryReceive());
  }

  void PutInto(PeerForTest& peer, const ChunkId& id, std::string_view content) {
    ASSERT_EQ(peer.Put(id, Meta(content.size()), content).header.type, FrameType::kStored);
  }
  static std::string Join(const std::vector<Answer>& answers) {
    std::string content;
    for (const Answer& answer : answers) content += answer.payload;
    return content;
  }

  net::EventLoop loop_{"test"};
  ChunkStore store_{64 * kMiB};
  SessionHost sessions_{loop_, InstanceId(99), {}, [] { return wire::NodeFill{}; }, {}};
  NodeContext context_{store_, sessions_, NodeId(3), InstanceId(99), std::string(kSecret), false};
  std::vector<std::unique_ptr<Link>> links_;
};

// --- Requests -----------------------------------------------------------------------------------

TEST_F(ConnectionTest, StoresAChunkAndGivesItsStripsBack) {
  PeerForTest& peer = ConnectedPeer();
  std::uint64_t chunks = 0;
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{1000}, std::size_t{kStrip},
                                  std::size_t{kStrip} + 1, std::size_t{3} * kStrip + 5000}) {
    SCOPED_TRACE(testing::Message() << bytes << " bytes");
    const std::string content = ContentForTest(bytes, bytes);
    const Answer stored = peer.Put(Id(bytes), Meta(bytes), content);
    EXPECT_EQ(stored.header.type, FrameType::kStored);
    EXPECT_EQ(stored.header.chunk, Id(bytes));
    EXPECT_EQ(stored.header.status, std::nullopt);
    // Short answers tell the node's fill.
    EXPECT_EQ(stored.header.offset, store_.bytes_used());
    EXPECT_EQ(stored.header.length, ++chunks);

    const std::vector<Answer> answers = peer.Get(Id(bytes), 0, bytes);
    EXPECT_TRUE(Join(answers) == content);
    std::uint64_t offset = 0;
    for (const Answer& answer : answers) {
      EXPECT_EQ(answer.header.type, FrameType::kData);
      EXPECT_EQ(answer.header.chunk, Id(bytes));
      EXPECT_EQ(answer.header.offset, offset);
      EXPECT_EQ(answer.header.length, answer.payload.size());
      EXPECT_EQ(answer.header.meta_bytes, 0U);
      EXPECT_EQ(answer.header.payload_crc,
                coding::Crc32c(std::as_bytes(std::span(answer.payload))));
      offset += answer.payload.size();
    }
  }
}

TEST_F(ConnectionTest, StoresAnEmptyChunk) {
  PeerForTest& peer = ConnectedPeer();
  EXPECT_EQ(peer.Put(Id(1), Meta(0, 0), "").header.type, FrameType::kStored);
  EXPECT_NE(store_.Find(Id(1)), nullptr);
}

TEST_F(ConnectionTest, AGetNamesARangeOfWholeStrips) {
  PeerForTest& peer = ConnectedPeer();
  const std::string content = ContentForTest(1, 10'500);
  ASSERT_EQ(peer.Put(Id(1), Meta(10'500, 1000), content).header.type, FrameType::kStored);
  EXPECT_EQ(Join(peer.Get(Id(1), 3000, 2000)), content.substr(3000, 2000));
  EXPECT_EQ(Join(peer.Get(Id(1), 3000, 1)), content.substr(3000, 1000));
  EXPECT_EQ(Join(peer.Get(Id(1), 9000, 1'000'000)), content.substr(9000));
  ExpectError(peer.Get(Id(1), 3001, 1000).front(), ErrorCode::kInvalidArgument);
  ExpectError(peer.Get(Id(1), 11'000, 1000).front(), ErrorCode::kInvalidArgument);
  ExpectError(peer.Get(Id(1), 3000, 0).front(), ErrorCode::kInvalidArgument);
}

TEST_F(ConnectionTest, AMissingChunkIsNotFound) {
  PeerForTest& peer = ConnectedPeer();
  PutInto(peer, Id(1, 0), "content");
  const Answer answer = peer.Get(Id(1, 1), 0, 7).front();
  ExpectError(answer, ErrorCode::kNotFound);
  EXPECT_EQ(answer.header.chunk, Id(1, 1));
}

TEST_F(ConnectionTest, DeletesWhatIsListedAndThere) {
  PeerForTest& peer = ConnectedPeer();
  for (std::uint64_t i = 1; i <= 3; ++i) PutInto(peer, Id(i), "content");
  const Answer answer =
      peer.Call(Header(FrameType::kDelete, 5), DeleteList({Id(1), Id(3), Id(1000)}));
  EXPECT_EQ(answer.header.type, FrameType::kDeleted);
  EXPECT_EQ(answer.header.request, 5U);
  EXPECT_EQ(answer.header.offset, store_.bytes_used());
  EXPECT_EQ(answer.header.length, 1U);
  EXPECT_EQ(store_.Find(Id(1)), nullptr);
  EXPECT_NE(store_.Find(Id(2)), nullptr);
  EXPECT_EQ(store_.Find(Id(3)), nullptr);
}

TEST_F(ConnectionTest, TellsItsStatus) {
  PeerForTest& peer = ConnectedPeer();
  PutInto(peer, Id(1), "content");
  const Answer answer = peer.Call(Header(FrameType::kStats, 6));
  EXPECT_EQ(answer.header.type, FrameType::kStatsReply);
  EXPECT_EQ(answer.header.request, 6U);
  EXPECT_EQ(wire::ParseNodeStatus(answer.payload), context_.Status());
  EXPECT_EQ(context_.Status(),
            (wire::NodeStatus{NodeId(3), InstanceId(99), 64 * kMiB, store_.bytes_used(), 1}));
}

TEST_F(ConnectionTest, AnswersManyPipelinedRequests) {
  PeerForTest& peer = ConnectedPeer();
  constexpr std::uint64_t kChunks = 300;
  for (std::uint64_t i = 0; i < kChunks; ++i) {
    const std::string content = ContentForTest(i, 1 + 37 * i);
    peer.QueuePut(2 * i, Id(i), Meta(content.size(), 5000), content);
    peer.Queue(GetHeader(2 * i + 1, Id(i), content.size()));
  }
  ASSERT_TRUE(peer.Flush());
  std::vector<int> stored(kChunks, 0);
  std::vector<std::string> read(kChunks);
  std::uint64_t complete = 0;
  for (std::uint64_t answered = 0; answered < kChunks || complete < kChunks;) {
    const Answer answer = peer.Receive();
    const std::uint64_t chunk = answer.header.request / 2;
    ASSERT_LT(chunk, kChunks);
    if (answer.header.request % 2 == 0) {
      ASSERT_EQ(answer.header.type, FrameType::kStored);
      ++stored[chunk];
      ++answered;
    } else {
      ASSERT_EQ(answer.header.type, FrameType::kData);
      read[chunk] += answer.payload;
      if ((answer.header.flags & wire::kFlagLast) != 0) ++complete;
    }
  }
  EXPECT_EQ(stored, std::vector<int>(kChunks, 1));
  for (std::uint64_t i = 0; i < kChunks; ++i)
    EXPECT_TRUE(read[i] == ContentForTest(i, 1 + 37 * i)) << "chunk " << i;
}

TEST_F(ConnectionTest, LargeRequestsTakeTurnsAndShortAnswersGoFirst) {
  PeerForTest& peer = ConnectedPeer();
  constexpr std::size_t kStrips = 12;
  const std::string large = ContentForTest(1, kStrips * kStrip);
  PutInto(peer, Id(1), large);
  PutInto(peer, Id(2), large);
  PutInto(peer, Id(3), "small");
  // In one write: the node reads them all before it sends.
  peer.Queue(GetHeader(1, Id(1), large.size()));
  peer.Queue(GetHeader(2, Id(2), large.size()));
  peer.Queue(GetHeader(3, Id(3), 5));
  peer.Queue(Header(FrameType::kPing, 4));
  ASSERT_TRUE(peer.Flush());
  std::vector<std::uint64_t> order;
  for (std::size_t i = 0; i < 2 * kStrips + 2; ++i) order.push_back(peer.Receive().header.request);
  std::vector<std::uint64_t> expected = {4, 1, 2, 3};
  for (std::size_t i = 1; i < kStrips; ++i) expected.insert(expected.end(), {1, 2});
  EXPECT_EQ(order, expected);
}

TEST_F(ConnectionTest, ARequestThatComesLaterIsNotStarvedByALargeOne) {
  PeerForTest& peer = SlowPeer();
  const std::string large = ContentForTest(1, 40 * kStrip);
  PutInto(peer, Id(1), large);
  PutInto(peer, Id(2), "small");
  ASSERT_TRUE(peer.Send(GetHeader(1, Id(1), large.size())));
  EXPECT_EQ(peer.Receive().header.request, 1U);
  ASSERT_TRUE(peer.Send(GetHeader(2, Id(2), 5)));
  int before = 0;
  while (peer.Receive().header.request != 2) ++before;
  // What both kernel buffers hold (the kernel doubles them), the strip that is being sent, and the
  // large request's turn.
  EXPECT_LE(before, 2 * 2 * kKernelBuffer / static_cast<int>(kStrip) + 2);
}

TEST_F(ConnectionTest, ACancelEndsARequest) {
  PeerForTest& peer = SlowPeer();
  const std::string large = ContentForTest(1, 40 * kStrip);
  PutInto(peer, Id(1), large);
  peer.Queue(GetHeader(1, Id(1), large.size()));
  peer.Queue(GetHeader(2, Id(1), large.size()));
  ASSERT_TRUE(peer.Flush());
  peer.Receive();
  peer.Queue(Header(FrameType::kCancel, 1));
  peer.Queue(Header(FrameType::kPing, 3));
  ASSERT_TRUE(peer.Flush());
  int before = 0;
  while (peer.Receive().header.request != 3) ++before;
  EXPECT_LT(before, 40);
  std::size_t others = 0;
  for (Answer answer = peer.Receive();; answer = peer.Receive()) {
    ASSERT_EQ(answer.header.request, 2U) << "a strip of the cancelled request";
    ++others;
    if ((answer.header.flags & wire::kFlagLast) != 0) break;
  }
  EXPECT_GT(others, 0U);
}

TEST_F(ConnectionTest, AChunkThatIsBeingReadStaysWholeWhenItIsDeleted) {
  PeerForTest& reader = SlowPeer();
  PeerForTest& deleter = ConnectedPeer();
  const std::string content = ContentForTest(1, 30 * kStrip);
  PutInto(deleter, Id(1), content);
  ASSERT_TRUE(reader.Send(GetHeader(1, Id(1), content.size())));
  std::string read = reader.Receive().payload;
  EXPECT_EQ(deleter.Call(Header(FrameType::kDelete, 1), DeleteList({Id(1)})).header.length, 0U);
  PutInto(deleter, Id(1), ContentForTest(2, 30 * kStrip));
  while (read.size() < content.size()) read += reader.Receive().payload;
  EXPECT_TRUE(read == content);
}

// --- Refusals -----------------------------------------------------------------------------------

TEST_F(ConnectionTest, AStripThatArrivesCorruptIsRefusedOnceAndItsChunkDropped) {
  PeerForTest& peer = ConnectedPeer();
  const std::string content = ContentForTest(1, 3 * kStrip);
  peer.QueueStrip(1, Id(1), Meta(content.size()), content, 0);
  std::string damaged = content;
  damaged[kStrip + 17] ^= 1;
  FrameHeader second = Header(FrameType::kPut, 1, Id(1));
  second.offset = kStrip;
  second.length = kStrip;
  second.payload_crc = coding::Crc32c(std::as_bytes(std::span(content).subspan(kStrip, kStrip)));
  peer.Queue(second, "", std::string_view(damaged).substr(kStrip, kStrip));
  peer.QueueStrip(1, Id(1), Meta(content.size()), content, 2 * kStrip);
  peer.Queue(Header(FrameType::kPing, 2));
  ASSERT_TRUE(peer.Flush());
  const Answer refused = peer.Receive();
  ExpectError(refused, ErrorCode::kCorrupt);
  EXPECT_EQ(refused.header.request, 1U);
  EXPECT_EQ(peer.Receive().header.request, 2U) << "the refusal is the only answer";
  EXPECT_EQ(store_.chunks(), 0U);
  EXPECT_EQ(store_.bytes_used(), 0U);
  PutInto(peer, Id(1), content);
  EXPECT_TRUE(Join(peer.Get(Id(1), 0, content.size())) == content);
}

TEST_F(ConnectionTest, AFullNodeRefusesKeepsWhatItHasAndNeverGrows) {
  PeerForTest& peer = ConnectedPeer();
  const std::string content = ContentForTest(1, 7 * kMiB);
  std::uint64_t stored = 0;
  for (std::uint64_t i = 1; i <= 12; ++i) {
    const Answer answer = peer.Put(Id(i), Meta(content.size()), content);
    EXPECT_LE(store_.bytes_used(), store_.bytes_limit());
    if (answer.header.type == FrameType::kStored) {
      ++stored;
    } else {
      ExpectError(answer, ErrorCode::kOutOfMemory);
    }
  }
  EXPECT_EQ(stored, 9U);
  for (std::uint64_t i = 1; i <= stored; ++i)
    EXPECT_TRUE(Join(peer.Get(Id(i), 0, content.size())) == content);
  EXPECT_EQ(peer.Call(Header(FrameType::kDelete), DeleteList({Id(1)})).header.length, 8U);
  EXPECT_EQ(peer.Put(Id(20), Meta(content.size()), content).header.type, FrameType::kStored);
}

// A writer that is refused may stop after the first strip.
TEST_F(ConnectionTest, RefusedChunksThatAreNotSentToTheirEndAddUpToNothing) {
  PeerForTest& peer = ConnectedPeer();
  const wire::ChunkMeta too_large = Meta(65 * kMiB, 1000);
  const std::string content(65 * kMiB, 'x');
  for (std::uint64_t i = 0; i < Connection::kIncompleteChunksMax + 10; ++i) {
    peer.QueueStrip(i, Id(i), too_large, content, 0);
    if (i % 100 != 0) continue;
    ASSERT_TRUE(peer.Flush());
  }
  ASSERT_TRUE(peer.Flush());
  for (std::uint64_t i = 0; i < Connection::kIncompleteChunksMax + 10; ++i)
    ExpectError(peer.Receive(), ErrorCode::kOutOfMemory);
  EXPECT_EQ(peer.Call(Header(FrameType::kPing)).header.type, FrameType::kPong);
}

TEST_F(ConnectionTest, ALastStripBeforeTheEndIsRefused) {
  PeerForTest& peer = ConnectedPeer();
  const std::string content = ContentForTest(1, 1000);
  FrameHeader header = Header(FrameType::kPut, 1, Id(1));
  header.flags = wire::kFlagFirst | wire::kFlagLast;
  header.length = 1000;
  header.payload_crc = coding::Crc32c(std::as_bytes(std::span(content)));
  std::string meta;
  wire::AppendChunkMeta(Meta(2000, 1000), meta);
  ExpectError(peer.Call(header, meta, content), ErrorCode::kInvalidArgument);
  EXPECT_EQ(store_.bytes_used(), 0U);
}

TEST_F(ConnectionTest, AnAbortDropsAnIncompleteChunk) {
  PeerForTest& peer = ConnectedPeer();
  const std::string content = ContentForTest(1, 2 * kStrip);
  peer.QueueStrip(1, Id(1), Meta(content.size()), content, 0);
  peer.Queue(Header(FrameType::kPing, 2));
  ASSERT_TRUE(peer.Flush());
  EXPECT_EQ(peer.Receive().header.type, FrameType::kPong);
  EXPECT_GT(store_.bytes_used(), 2 * kStrip);
  peer.Queue(Header(FrameType::kAbort, 0, Id(1)));
  // The rest of the chunk is skipped.
  peer.QueueStrip(1, Id(1), Meta(content.size()), content, kStrip);
  peer.Queue(Header(FrameType::kPing, 3));
  ASSERT_TRUE(peer.Flush());
  EXPECT_EQ(peer.Receive().header.request, 3U);
  EXPECT_EQ(store_.bytes_used(), 0U);
}

TEST_F(ConnectionTest, AChunkThatIsBegunAnewReplacesWhatCameOfIt) {
  PeerForTest& peer = ConnectedPeer();
  const std::string content = ContentForTest(1, 40 * kMiB);  // there is room for one
  peer.QueueStrip(1, Id(1), Meta(content.size()), content, 0);
  peer.QueuePut(2, Id(1), Meta(content.size()), content);
  ASSERT_TRUE(peer.Flush());
  const Answer answer = peer.Receive();
  EXPECT_EQ(answer.header.type, FrameType::kStored);
  EXPECT_EQ(answer.header.request, 2U);
  EXPECT_EQ(store_.chunks(), 1U);
}

TEST_F(ConnectionTest, AConnectionThatIsCutWithinAChunkLeavesNothing) {
  const std::string content = ContentForTest(1, 3 * kStrip);
  PeerForTest encoder(loop_, net::Socket(loop_));
  encoder.QueuePut(1, Id(1), Meta(content.size()), content);
  const std::string stream = encoder.TakeQueue();
  for (const std::size_t cut : {std::size_t{1}, std::size_t{64}, std::size_t{kStrip} + 500,
                                2 * std::size_t{kStrip} + 200}) {
    SCOPED_TRACE(testing::Message() << "cut after " << cut << " bytes");
    Link& link = Connect();
    ASSERT_TRUE(link.peer.Authenticate(kSecret));
    link.peer.QueueBytes(std::string_view(stream).substr(0, cut));
    ASSERT_TRUE(link.peer.Flush());
    link.peer.socket().Close();
    EXPECT_EQ(link.running.Get().code, ErrorCode::kUnavailable);
    link.connection.reset();
    EXPECT_EQ(store_.bytes_used(), 0U);
    EXPECT_EQ(store_.chunks(), 0U);
  }
}

TEST_F(ConnectionTest, AStoredStripThatWentBadIsAnErrorAndItsChunkIsDropped) {
  PeerForTest& peer = ConnectedPeer();
  const std::string content = ContentForTest(1, 3 * kStrip);
  PutInto(peer, Id(1), content);
  ASSERT_TRUE(store_.FlipBitForTest(Id(1), kStrip + 5));
  const std::vector<Answer> answers = peer.Get(Id(1), 0, content.size());
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_TRUE(answers[0].payload == content.substr(0, kStrip));
  ExpectError(answers[1], ErrorCode::kCorrupt);
  EXPECT_EQ(answers[1].header.offset, kStrip);
  EXPECT_EQ(store_.chunks(), 0U);
  ExpectError(peer.Get(Id(1), 0, 1).front(), ErrorCode::kNotFound);
}

// A rebuilt directory goes by it.
TEST_F(ConnectionTest, AnInventoryTellsAfterWhichVersionNothingIsMissing) {
  PeerForTest& peer = ConnectedPeer();
  const auto told = [&] { return peer.Call(wire::EncodeInventoryRequest(1, {})).header.length; };
  EXPECT_EQ(told(), 0U) << "nobody has said it";
  for (const std::uint64_t newest : {50, 40}) peer.Queue(wire::EncodeSince(Version(newest)));
  EXPECT_EQ(told(), 50U);
  const ChunkId id{ObjectId(1), Version(60), 0};
  PutInto(peer, id, "content");
  ASSERT_TRUE(store_.FlipBitForTest(id, 0));
  ExpectError(peer.Get(id, 0, 1).front(), ErrorCode::kCorrupt);
  EXPECT_EQ(told(), 60U) << "one that went bad is missing";
  peer.Call(wire::EncodeSyncState(FrameType::kSyncOpen, 2, {InstanceId(7), 0, false}));
  EXPECT_EQ(told(), 0U) << "a copy may be behind";
}

TEST_F(ConnectionTest, CorruptsOnRequestOnlyWhereTestHooksAreOn) {
  PeerForTest& peer = ConnectedPeer();
  const std::string content = ContentForTest(1, 1000);
  PutInto(peer, Id(1), content);
  ExpectError(peer.Call(Header(FrameType::kCorruptForTest, 1, Id(1))), ErrorCode::kNotFound);
  EXPECT_TRUE(Join(peer.Get(Id(1), 0, 1000)) == content);
  context_.test_hooks = true;
  ExpectError(peer.Call(Header(FrameType::kCorruptForTest, 2, Id(2))), ErrorCode::kNotFound);
  EXPECT_EQ(peer.Call(Header(FrameType::kCorruptForTest, 3, Id(1))).header.type, FrameType::kPong);
  ExpectError(peer.Get(Id(1), 0, 1000).front(), ErrorCode::kCorrupt);
}

// --- Closing ------------------------------------------------------------------------------------

TEST_F(ConnectionTest, APeerThatDoesNotProveTheSecretGetsNothing) {
  PutInto(ConnectedPeer(), Id(1), "content");
  Link& forger = Connect();
  ASSERT_TRUE(forger.peer.Send(Header(FrameType::kHello), std::string(16, 'n')));
  EXPECT_EQ(forger.peer.Receive().header.type, FrameType::kChallenge);
  forger.peer.Queue(Header(FrameType::kAuth), std::string(32, 'p'));
  forger.peer.Queue(GetHeader(1, Id(1), 7));
  ASSERT_TRUE(forger.peer.Flush());
  ExpectError(forger.peer.Receive(), ErrorCode::kUnauthenticated);
  EXPECT_EQ(forger.running.Get().code, ErrorCode::kUnauthenticated);

  for (const FrameType type : {FrameType::kGet, FrameType::kStats, FrameType::kPing,
                               FrameType::kDelete, FrameType::kCorruptForTest}) {
    Link& rude = Connect();
    ASSERT_TRUE(rude.peer.Send(Header(type, 1, Id(1))));
    ExpectClosed(rude, ErrorCode::kProtocol, "expected a hello frame");
  }
  Link& other = Connect();
  const auto status = other.peer.Authenticate("another secret");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnauthenticated);
  EXPECT_EQ(store_.chunks(), 1U);
}

TEST_F(ConnectionTest, WhatIsNotAFrameClosesTheLinkAndNoOther) {
  PeerForTest& bystander = ConnectedPeer();
  Link& link = Connect();
  ASSERT_TRUE(link.peer.Authenticate(kSecret));
  link.peer.Queue(Header(FrameType::kPing, 1));
  link.peer.QueueBytes(std::string(64, 'x'));
  ASSERT_TRUE(link.peer.Flush());
  EXPECT_EQ(link.running.Get().code, ErrorCode::kProtocol);
  EXPECT_EQ(bystander.Call(Header(FrameType::kPing)).header.type, FrameType::kPong);
}

TEST_F(ConnectionTest, FramesThatANodeDoesNotTakeCloseTheLink) {
  for (const FrameType type : {FrameType::kData, FrameType::kStored, FrameType::kHello,
                               FrameType::kWelcome, FrameType::kBye, FrameType::kError}) {
    Link& link = Connect();
    ASSERT_TRUE(link.peer.Authenticate(kSecret));
    ASSERT_TRUE(link.peer.Send(Header(type, 1)));
    ExpectClosed(link, ErrorCode::kProtocol, "does not take");
  }
  for (const FrameType type : {FrameType::kPing, FrameType::kStats, FrameType::kCancel,
                               FrameType::kAbort, FrameType::kCorruptForTest}) {
    Link& link = Connect();
    ASSERT_TRUE(link.peer.Authenticate(kSecret));
    ASSERT_TRUE(link.peer.Send(Header(type, 1), "", "payload"));
    EXPECT_EQ(link.running.Get().code, ErrorCode::kProtocol) << wire::FrameTypeName(type);
  }
}

TEST_F(ConnectionTest, RequestsThatContradictThemselvesCloseTheLink) {
  const std::string content = ContentForTest(1, 3000);
  std::string meta;
  wire::AppendChunkMeta(Meta(3000, 1000), meta);
  FrameHeader first = Header(FrameType::kPut, 1, Id(1));
  first.flags = wire::kFlagFirst;
  FrameHeader third = Header(FrameType::kPut, 1, Id(1));
  third.offset = 2000;
  const auto closes = [&](std::string_view message, auto&& queue) {
    Link& link = Connect();
    ASSERT_TRUE(link.peer.Authenticate(kSecret));
    queue(link.peer);
    ASSERT_TRUE(link.peer.Flush());
    const Error reason = link.running.Get();
    EXPECT_EQ(reason.code, ErrorCode::kProtocol);
    EXPECT_THAT(reason.message, HasSubstr(std::string(message)));
  };
  closes("metadata", [&](PeerForTest& peer) { peer.Queue(first, "", content.substr(0, 1000)); });
  closes("metadata", [&](PeerForTest& peer) { peer.Queue(first, meta + "x", content); });
  closes("not the chunk's next", [&](PeerForTest& peer) {
    peer.QueueStrip(1, Id(1), Meta(3000, 1000), content, 0);
    peer.Queue(third, "", content.substr(2000));
  });
  closes("not the chunk's next", [&](PeerForTest& peer) {
    peer.QueueStrip(1, Id(1), Meta(3000, 1000), content, 0);
    peer.QueueStrip(1, Id(1), Meta(3000, 1500), content, 1500);
  });
  closes("delete list", [&](PeerForTest& peer) {
    peer.Queue(Header(FrameType::kDelete, 1), DeleteList({Id(1)}) + "x");
  });
}

TEST_F(ConnectionTest, TooManyRequestsAtOnceCloseTheLink) {
  Link& getter = Connect({.buffer_bytes = kKernelBuffer});
  ASSERT_TRUE(getter.peer.Authenticate(kSecret));
  const std::string content = ContentForTest(1, 8 * kStrip);
  PutInto(getter.peer, Id(1), content);
  for (std::uint64_t i = 0; i < Connection::kStreamsMax + 100; ++i)
    getter.peer.Queue(GetHeader(i, Id(1), content.size()));
  (void)getter.peer.Flush();  // the node may close while we send
  EXPECT_THAT(getter.running.Get().message, HasSubstr("too many requests"));

  Link& putter = Connect();
  ASSERT_TRUE(putter.peer.Authenticate(kSecret));
  for (std::uint64_t i = 0; i <= Connection::kIncompleteChunksMax; ++i)
    putter.peer.QueueStrip(i, Id(i), Meta(2, 1), "ab", 0);
  (void)putter.peer.Flush();
  EXPECT_THAT(putter.running.Get().message, HasSubstr("too many chunks"));
}

}  // namespace
}  // namespace infinicache::node
