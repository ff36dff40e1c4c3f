#include "pool/link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "coding/crc32c.h"
#include "net/handshake.h"
#include "net/testing.h"
#include "node/node_server.h"
#include "pool/link_for_test.h"

namespace infinicache::pool {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using wire::FrameHeader;
using wire::FrameType;
using Kind = FrameSink::Target::Kind;

constexpr std::string_view kSecret = kSecretForTest;
constexpr NodeId kNode{4};
constexpr std::size_t kStrip = 64 * kKiB;

ChunkId Id(std::uint64_t version) {
  return {ObjectId(7), Version(version), 0};
}

std::string Content(std::size_t bytes, char first = 'a') {
  std::string content(bytes, first);
  for (std::size_t i = 0; i < bytes; ++i) content[i] = static_cast<char>(first + i % 97 + i / 9973);
  return content;
}

class LinkTest : public testing::Test {
 protected:
  ~LinkTest() override {
    for (const auto& server : servers_) server->Stop();
    link_.Stop();
    net::RunToEnd(loop_);
  }

  // A new instance of the node, which serves.
  node::NodeServer& StartNode(const net::HostPort& listen = {"127.0.0.1", 0}) {
    node::NodeOptions options;
    options.listen = listen;
    options.memory_bytes = 64 * kMiB;
    options.node = kNode;
    options.secret = kSecret;
    servers_.push_back(std::make_unique<node::NodeServer>(loop_, options));
    const Status started = servers_.back()->Start();
    CHECK(started, "{}", started.error().message);
    return *servers_.back();
  }
  void SetInstance(Epoch epoch, const node::NodeServer& server) {
    link_.SetInstance(epoch, server.instance(), server.address());
  }
  void AwaitConnected(Epoch epoch) {
    net::RunUntil(loop_, [&] { return link_.epoch() == epoch; });
  }
  // Runs the link to a node of its own.
  void Connect() {
    loop_.Spawn(link_.Run());
    SetInstance(Epoch(1), StartNode());
    AwaitConnected(Epoch(1));
  }

  // Sends a whole chunk for `sink`; its request id.
  std::uint64_t Put(SinkForTest& sink, const ChunkId& id, const std::string& content) {
    const std::uint64_t request = link_.Register(&sink);
    for (std::size_t offset = 0; offset < content.size(); offset += kStrip) {
      auto strip = std::make_shared<std::string>(content.substr(offset, kStrip));
      const auto bytes = std::as_bytes(std::span(*strip));
      FrameHeader header;
      header.type = FrameType::kPut;
      header.request = request;
      header.chunk = id;
      header.offset = offset;
      header.length = strip->size();
      header.payload_crc = coding::Crc32c(bytes);
      std::string meta;
      if (offset == 0) {
        header.flags |= wire::kFlagFirst;
        wire::AppendChunkMeta({.key = "key",
                               .object_bytes = content.size(),
                               .chunk_bytes = content.size(),
                               .strip_bytes = kStrip},
                              meta);
      }
      if (offset + strip->size() == content.size()) header.flags |= wire::kFlagLast;
      link_.Send(header, std::move(meta), bytes, strip);
    }
    return request;
  }
  void Store(const ChunkId& id, const std::string& content) {
    SinkForTest sink;
    const std::uint64_t request = Put(sink, id, content);
    net::RunUntil(loop_, [&] { return !sink.frames.empty(); });
    ASSERT_EQ(sink.frames[0].type, FrameType::kStored);
    link_.Forget(request);
  }
  std::uint64_t Get(SinkForTest& sink, const ChunkId& id, std::uint64_t length) {
    FrameHeader header;
    header.type = FrameType::kGet;
    header.request = link_.Register(&sink);
    header.chunk = id;
    header.length = length;
    link_.Send(header);
    return header.request;
  }
  SinkForTest& NewSink() { return sinks_.emplace_back(); }
  void AwaitLast(const SinkForTest& sink) {
    net::RunUntil(loop_, [&] {
      return !sink.frames.empty() && (sink.frames.back().flags & wire::kFlagLast) != 0;
    });
  }
  // The node answers everything that was sent before.
  void PingPong() {
    SinkForTest sink;
    FrameHeader header;
    header.type = FrameType::kPing;
    header.request = link_.Register(&sink);
    link_.Send(header);
    net::RunUntil(loop_, [&] { return !sink.frames.empty(); });
    EXPECT_EQ(sink.frames[0].type, FrameType::kPong);
    link_.Forget(header.request);
  }
  // The next `bytes` bytes of a borrowed payload.
  std::string TakeBorrowed(std::size_t bytes) {
    std::string taken(bytes, '\0');
    const Status read =
        RunTask(loop_, link_.socket().ReadAll(std::as_writable_bytes(std::span(taken))));
    EXPECT_TRUE(read) << read.error().message;
    link_.reader().ConsumedOutside(bytes);
    return taken;
  }

  net::EventLoop loop_{"test"};
  NodeShared shared_;
  std::vector<std::unique_ptr<node::NodeServer>> servers_;
  // Sinks outlive the link, or are forgotten.
  std::deque<SinkForTest> sinks_{2};
  SinkForTest& sink_ = sinks_[0];
  SinkForTest& other_ = sinks_[1];
  Link link_{loop_, shared_, {kNode, std::string(kSecret), {}, 1}};
};

// --- Requests and answers -----------------------------------------------------------------------

TEST_F(LinkTest, DialsTheInstanceItIsToldOfAndLearnsItsStatus) {
  loop_.Spawn(link_.Run());
  net::RunReady(loop_);
  EXPECT_FALSE(link_.connected());
  EXPECT_EQ(link_.epoch(), Epoch());
  SetInstance(Epoch(7), StartNode());
  AwaitConnected(Epoch(7));
  EXPECT_TRUE(link_.connected());
  EXPECT_EQ(link_.node(), kNode);
  EXPECT_EQ(shared_.bytes_limit, 64 * kMiB);
  EXPECT_EQ(shared_.bytes_used, 0U);
}

TEST_F(LinkTest, BringsAnswersToTheirSinks) {
  Connect();
  const std::string content = Content(3 * kStrip + 100);
  const std::uint64_t put = Put(sink_, Id(1), content);
  net::RunUntil(loop_, [&] { return !sink_.frames.empty(); });
  EXPECT_EQ(sink_.frames[0].type, FrameType::kStored);
  EXPECT_EQ(sink_.frames[0].request, put);
  EXPECT_EQ(shared_.bytes_used, sink_.frames[0].offset) << "the node's fill is noted";
  EXPECT_GT(shared_.bytes_used, content.size());
  EXPECT_EQ(shared_.chunks, 1U);
  EXPECT_EQ(link_.requests(), 1U);
  link_.Forget(put);
  EXPECT_EQ(link_.requests(), 0U);

  const std::uint64_t get = Get(other_, Id(1), content.size());
  EXPECT_NE(get, put);
  AwaitLast(other_);
  EXPECT_TRUE(other_.Content() == content);
  EXPECT_EQ(other_.frames.size(), 4U);
  EXPECT_EQ(sink_.frames.size(), 1U);
}

TEST_F(LinkTest, CarriesManyRequestsAtOnce) {
  Connect();
  constexpr std::uint64_t kChunks = 50;
  std::vector<SinkForTest*> writers;
  std::vector<SinkForTest*> readers;
  const auto content = [](std::uint64_t i) { return Content(1 + 3000 * i, static_cast<char>(i)); };
  for (std::uint64_t i = 0; i < kChunks; ++i)
    Put(*writers.emplace_back(&NewSink()), Id(i), content(i));
  for (std::uint64_t i = 0; i < kChunks; ++i)
    Get(*readers.emplace_back(&NewSink()), Id(i), content(i).size());
  for (std::uint64_t i = 0; i < kChunks; ++i) {
    AwaitLast(*readers[i]);
    EXPECT_TRUE(readers[i]->Content() == content(i));
    ASSERT_EQ(writers[i]->frames.size(), 1U);
    EXPECT_EQ(writers[i]->frames[0].type, FrameType::kStored);
  }
}

TEST_F(LinkTest, AnErrorIsAnAnswer) {
  Connect();
  Get(sink_, Id(1), 1);
  net::RunUntil(loop_, [&] { return !sink_.frames.empty(); });
  EXPECT_EQ(sink_.frames[0].type, FrameType::kError);
  EXPECT_EQ(sink_.frames[0].status, ErrorCode::kNotFound);
}

TEST_F(LinkTest, SkipsAnswersThatWereForgottenOrAreNotWanted) {
  Connect();
  const std::string content = Content(2 * kStrip);
  Store(Id(1), content);
  link_.Forget(Get(sink_, Id(1), content.size()));
  other_.kind = Kind::kDiscard;
  Get(other_, Id(1), content.size());
  PingPong();
  SinkForTest& reader = NewSink();
  Get(reader, Id(1), content.size());
  AwaitLast(reader);
  EXPECT_TRUE(reader.Content() == content);
  EXPECT_THAT(sink_.frames, IsEmpty());
  EXPECT_THAT(other_.frames, IsEmpty());
}

TEST_F(LinkTest, MemoryThatIsBeingFilledOutlivesItsSink) {
  Connect();
  const std::string content = Content(kStrip);
  Store(Id(1), content);
  auto sink = std::make_unique<SinkForTest>();
  const std::uint64_t request = Get(*sink, Id(1), content.size());
  net::RunUntil(loop_, [&] { return !sink->received.empty(); });
  const std::weak_ptr<std::string> memory = sink->received[0];
  link_.Forget(request);
  sink.reset();
  PingPong();
  EXPECT_TRUE(memory.expired());
}

// --- Sending ------------------------------------------------------------------------------------

TEST_F(LinkTest, QueuesWhatTheSocketDoesNotTakeAndUnqueuesWhatIsNotBegun) {
  Connect();
  // More than the kernel takes while nobody reads.
  const std::string large = Content(30 * kMiB);
  const std::uint64_t kept = Put(sink_, Id(1), large);
  const std::size_t after_first = link_.queued_bytes();
  EXPECT_GT(after_first, 0U);
  const std::uint64_t dropped = Put(other_, Id(2), Content(1 * kMiB));
  EXPECT_GT(link_.queued_bytes(), after_first + 1 * kMiB);
  const auto payload = std::make_shared<std::string>("x");
  FrameHeader header;
  header.type = FrameType::kPut;
  header.request = dropped;
  link_.Send(header, {}, std::as_bytes(std::span(*payload)), payload);
  EXPECT_EQ(payload.use_count(), 2);

  link_.Unqueue(dropped);
  EXPECT_EQ(link_.queued_bytes(), after_first);
  EXPECT_EQ(payload.use_count(), 1);
  // The frame that is half sent goes on; the stream stays whole.
  net::RunUntil(loop_, [&] { return !sink_.frames.empty(); });
  EXPECT_EQ(sink_.frames[0].type, FrameType::kStored);
  EXPECT_EQ(sink_.frames[0].request, kept);
  EXPECT_EQ(link_.queued_bytes(), 0U);
  PingPong();
  EXPECT_THAT(other_.frames, IsEmpty());
}

TEST_F(LinkTest, UnqueueLeavesTheFrameThatIsPartlySent) {
  Connect();
  const std::uint64_t request = Put(sink_, Id(1), Content(30 * kMiB));
  link_.Unqueue(request);
  EXPECT_LT(link_.queued_bytes(), kStrip + 1000) << "at most one frame is partly sent";
  FrameHeader abort;
  abort.type = FrameType::kAbort;
  abort.chunk = Id(1);
  link_.Send(abort);
  PingPong();
  EXPECT_EQ(link_.queued_bytes(), 0U);
  EXPECT_TRUE(link_.connected());
}

TEST_F(LinkTest, AFrameThatMoreFollowsMayWaitForTheFlush) {
  Connect();
  FrameHeader header;
  header.type = FrameType::kPing;
  header.request = link_.Register(&sink_);
  link_.Send(header, {}, {}, nullptr, /*more=*/true);
  EXPECT_EQ(link_.queued_bytes(), wire::kFrameHeaderBytes);
  link_.Flush();
  EXPECT_EQ(link_.queued_bytes(), 0U);
  net::RunUntil(loop_, [&] { return !sink_.frames.empty(); });
}

TEST_F(LinkTest, WhatIsSentWithoutAConnectionIsDropped) {
  const auto payload = std::make_shared<std::string>("x");
  FrameHeader header;
  header.type = FrameType::kPut;
  link_.Send(header, {}, std::as_bytes(std::span(*payload)), payload);
  EXPECT_EQ(link_.queued_bytes(), 0U);
  EXPECT_EQ(payload.use_count(), 1);
  link_.Suspect();
  EXPECT_FALSE(link_.suspect());
}

TEST_F(LinkTest, ASuspectIsClearedByAnySignOfLife) {
  Connect();
  link_.Suspect();
  EXPECT_TRUE(link_.suspect());
  link_.Suspect();
  // Nothing else is under way: it is the answer to the link's own ping.
  net::RunUntil(loop_, [&] { return !link_.suspect(); });
  EXPECT_TRUE(link_.connected());
}

// --- Connections that end -----------------------------------------------------------------------

TEST_F(LinkTest, TellsEachRequestOnceThatTheConnectionEndedAndDialsAgain) {
  Connect();
  const std::uint64_t first = link_.Register(&sink_);
  const std::uint64_t second = link_.Register(&sink_);
  const std::uint64_t third = link_.Register(&other_);
  link_.Forget(link_.Register(&other_));
  link_.socket().Shutdown();  // the network's doing: neither end knows why
  net::RunUntil(loop_, [&] { return !link_.connected(); });
  EXPECT_EQ(link_.epoch(), Epoch());
  EXPECT_THAT(sink_.lost, UnorderedElementsAre(first, second));
  EXPECT_THAT(other_.lost, ElementsAre(third));
  EXPECT_EQ(link_.requests(), 0U);
  EXPECT_EQ(link_.queued_bytes(), 0U);

  AwaitConnected(Epoch(1));
  EXPECT_GT(link_.Register(&sink_), third) << "an id is never used twice";
  PingPong();
  EXPECT_EQ(sink_.lost.size(), 2U);
}

TEST_F(LinkTest, DoesNotTellARequestThatAnotherSinkForgotWhenItWasTold) {
  Connect();
  std::map<SinkForTest*, std::vector<std::uint64_t>> requests;
  for (SinkForTest* sink : {&sink_, &other_}) {
    for (int i = 0; i < 3; ++i) requests[sink].push_back(link_.Register(sink));
    sink->on_lost = [&](Link& link) {
      for (const auto& [each, ids] : requests) {
        for (const std::uint64_t id : ids) link.Forget(id);
      }
    };
  }
  link_.socket().Shutdown();
  net::RunUntil(loop_, [&] { return !link_.connected(); });
  EXPECT_EQ(sink_.lost.size() + other_.lost.size(), 1U);
}

TEST_F(LinkTest, ANodeThatEndsIsNoticedBySendingToo) {
  Connect();
  link_.Register(&sink_);
  servers_[0]->Stop();
  std::string payload(kStrip, 'x');
  for (int i = 0; link_.connected(); ++i) {
    ASSERT_LT(i, 100'000);
    FrameHeader header;
    header.type = FrameType::kPing;
    link_.Send(header, {}, std::as_bytes(std::span(payload)));
    net::RunReady(loop_);
  }
  net::RunUntil(loop_, [&] { return !sink_.lost.empty(); });
}

TEST_F(LinkTest, ABadFrameEndsTheConnection) {
  PassiveNodeForTest node(loop_);
  loop_.Spawn(link_.Run());
  link_.SetInstance(Epoch(1), InstanceId(5), node.address());
  net::Socket& socket = node.AwaitLink(1);
  ASSERT_TRUE(node.Authenticate(socket, {.node = kNode, .instance = InstanceId(5)}));
  AwaitConnected(Epoch(1));
  link_.Register(&sink_);
  const std::string garbage(64, 'x');
  iovec piece = net::ToIovec(garbage);
  ASSERT_TRUE(RunTask(loop_, socket.WriteAll(std::span(&piece, 1))));
  net::RunUntil(loop_, [&] { return !sink_.lost.empty(); });
  EXPECT_FALSE(link_.connected());
  node.AwaitLink(2);
}

// --- Instances ----------------------------------------------------------------------------------

TEST_F(LinkTest, ANewInstanceReplacesTheConnectionAtOnce) {
  Connect();
  const std::uint64_t request = link_.Register(&sink_);
  SetInstance(Epoch(2), StartNode());
  EXPECT_FALSE(link_.connected()) << "the connection is not of the new instance";
  EXPECT_EQ(link_.epoch(), Epoch());
  AwaitConnected(Epoch(2));
  EXPECT_THAT(sink_.lost, ElementsAre(request));
  PingPong();

  link_.Register(&other_);
  link_.SetInstance(Epoch(), InstanceId(), {});
  net::RunUntil(loop_, [&] { return !other_.lost.empty(); });
  net::RunReady(loop_);
  EXPECT_FALSE(link_.connected());
}

TEST_F(LinkTest, WhatTheOldInstanceSentIsNotTakenForTheNewOnes) {
  PassiveNodeForTest node(loop_);
  loop_.Spawn(link_.Run());
  link_.SetInstance(Epoch(1), InstanceId(5), node.address());
  net::Socket& socket = node.AwaitLink(1);
  ASSERT_TRUE(node.Authenticate(socket, {.node = kNode, .instance = InstanceId(5)}));
  AwaitConnected(Epoch(1));
  FrameHeader stored;
  stored.type = FrameType::kStored;
  stored.request = link_.Register(&sink_);
  stored.offset = 12'345;
  ASSERT_TRUE(RunTask(loop_, net::SendMetaFrame(socket, stored, "")));
  // The answer waits in the socket.
  link_.SetInstance(Epoch(2), InstanceId(6), node.address());
  net::RunUntil(loop_, [&] { return !sink_.lost.empty() || !sink_.frames.empty(); });
  EXPECT_THAT(sink_.frames, IsEmpty());
  EXPECT_EQ(shared_.bytes_used, 0U);
}

TEST_F(LinkTest, TalksToTheInstanceItWasToldOfAndToNoOther) {
  PassiveNodeForTest node(loop_);
  loop_.Spawn(link_.Run());
  link_.SetInstance(Epoch(1), InstanceId(5), node.address());
  ASSERT_TRUE(node.Authenticate(node.AwaitLink(1), {.node = kNode, .instance = InstanceId(6)}));
  ASSERT_TRUE(node.Authenticate(node.AwaitLink(2), {.node = NodeId(1), .instance = InstanceId(5)}));
  net::Socket& third = node.AwaitLink(3);
  EXPECT_FALSE(link_.connected());
  ASSERT_TRUE(node.Authenticate(third, {.node = kNode, .instance = InstanceId(5)}));
  AwaitConnected(Epoch(1));
}

TEST_F(LinkTest, KeepsDiallingUntilTheInstanceListens) {
  net::HostPort address;
  {
    const PassiveNodeForTest node(loop_);
    address = node.address();
  }
  loop_.Spawn(link_.Run());
  link_.SetInstance(Epoch(1), InstanceId(5), address);
  net::RunTask(loop_, loop_.Sleep(std::chrono::milliseconds(30)));
  EXPECT_FALSE(link_.connected());
  node::NodeServer& server = StartNode(address);
  SetInstance(Epoch(2), server);
  AwaitConnected(Epoch(2));
}

TEST_F(LinkTest, AnInstanceThatDoesNotAnswerTheHandshakeIsDialledAgain) {
  PassiveNodeForTest node(loop_);
  loop_.Spawn(link_.Run());
  link_.SetInstance(Epoch(1), InstanceId(5), node.address());
  node.AwaitLink(1);
  net::Socket& second = node.AwaitLink(2);
  ASSERT_TRUE(node.Authenticate(second, {.node = kNode, .instance = InstanceId(5)}));
  AwaitConnected(Epoch(1));
}

// --- Borrowed payloads --------------------------------------------------------------------------

class BorrowTest : public LinkTest {
 protected:
  // Connects and has `sink_` borrow the first strip of a chunk of two.
  void Borrow() {
    Connect();
    Store(Id(1), content_);
    sink_.borrows = true;
    sink_.kind = Kind::kBorrow;
    request_ = Get(sink_, Id(1), content_.size());
    net::RunUntil(loop_, [&] { return sink_.borrowing != nullptr; });
    sink_.borrowing = nullptr;
  }

  std::uint64_t request_ = 0;
  const std::string content_ = Content(2 * kStrip);
};

TEST_F(BorrowTest, ABorrowedPayloadWaitsInTheSocketUntilItIsReleased) {
  Borrow();
  EXPECT_EQ(link_.reader().payload_left(), kStrip);
  EXPECT_EQ(link_.reader().buffered(), 0U);
  EXPECT_TRUE(TakeBorrowed(1000) + TakeBorrowed(kStrip - 1000) == content_.substr(0, kStrip));
  EXPECT_EQ(sink_.borrowing, nullptr) << "the next payload came before this one was released";
  link_.Release(/*forget=*/false);
  net::RunUntil(loop_, [&] { return sink_.borrowing != nullptr; });
  EXPECT_TRUE(TakeBorrowed(kStrip) == content_.substr(kStrip));
  link_.Release(/*forget=*/true);
  PingPong();
}

TEST_F(BorrowTest, TheRestOfABorrowedPayloadCanBeReceivedAfterAll) {
  Borrow();
  EXPECT_TRUE(TakeBorrowed(1000) == content_.substr(0, 1000));
  sink_.kind = Kind::kMemory;
  link_.Receive(sink_.Memory(kStrip - 1000));
  AwaitLast(sink_);
  EXPECT_EQ(sink_.frames.size(), 2U);
  EXPECT_TRUE(sink_.Content() == content_.substr(1000));
}

TEST_F(BorrowTest, ABorrowerThatGoesAwayDoesNotHoldUpTheLink) {
  Borrow();
  EXPECT_TRUE(TakeBorrowed(1000) == content_.substr(0, 1000));
  link_.Forget(request_);
  PingPong();
  EXPECT_THAT(sink_.frames, IsEmpty());
}

TEST_F(BorrowTest, TheBorrowerIsToldThatAnotherRequestWaitsBehindIt) {
  Borrow();
  EXPECT_EQ(sink_.contended, 0);
  const std::uint64_t request = link_.Register(&other_);
  EXPECT_EQ(sink_.contended, 1);
  link_.Forget(request);
  sink_.kind = Kind::kMemory;
  link_.Receive(sink_.Memory(kStrip));
  link_.Forget(link_.Register(&other_));
  EXPECT_EQ(sink_.contended, 1) << "the payload is out of the way already";
  AwaitLast(sink_);
}

TEST_F(BorrowTest, TheBorrowerCanWaitForMoreOfItsPayload) {
  Borrow();
  link_.AwaitBorrowed();
  net::RunUntil(loop_, [&] { return sink_.readable > 0; });
  EXPECT_TRUE(TakeBorrowed(kStrip) == content_.substr(0, kStrip));
  link_.Release(/*forget=*/false);
  net::RunUntil(loop_, [&] { return sink_.borrowing != nullptr; });
  EXPECT_EQ(sink_.readable, 1) << "it is called once for each time it was asked for";
}

TEST_F(BorrowTest, ANewInstanceDoesNotWaitForABorrower) {
  Borrow();
  SetInstance(Epoch(2), StartNode());
  AwaitConnected(Epoch(2));
  EXPECT_EQ(sink_.lost.size(), 1U);
  PingPong();
}

TEST_F(BorrowTest, StopDoesNotWaitForABorrower) {
  Borrow();
  link_.Stop();
  servers_[0]->Stop();
  net::RunToEnd(loop_);
  EXPECT_EQ(sink_.lost.size(), 1U);
}

// --- Stop ---------------------------------------------------------------------------------------

TEST_F(LinkTest, StopEndsItInEveryState) {
  PassiveNodeForTest silent(loop_);
  const auto stopped = [&](const std::function<void(Link&)>& prepare) {
    Link link(loop_, shared_, {kNode, std::string(kSecret), {}, 1});
    net::Started<std::monostate> running(loop_, net::WithValue(link.Run()));
    prepare(link);
    link.Stop();
    running.Get();
  };
  stopped([](Link&) {});
  stopped([&](Link&) { net::RunReady(loop_); });
  stopped([&](Link& link) {  // in the handshake
    link.SetInstance(Epoch(1), InstanceId(5), silent.address());
    silent.AwaitLink(1);
  });
  stopped([&](Link& link) {  // connected, with a request under way
    const node::NodeServer& server = StartNode();
    link.SetInstance(Epoch(1), server.instance(), server.address());
    net::RunUntil(loop_, [&] { return link.connected(); });
    link.Register(&sink_);
  });
  EXPECT_EQ(sink_.lost.size(), 1U);
}

}  // namespace
}  // namespace infinicache::pool
