#include "node/node_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "net/testing.h"
#include "node/peer_for_test.h"

namespace infinicache::node {
namespace {

using ::testing::HasSubstr;
using wire::FrameHeader;
using wire::FrameType;

constexpr std::string_view kSecret = "the pool's secret";

NodeOptions Options() {
  NodeOptions options;
  options.memory_bytes = 8 * kMiB;
  options.node = NodeId(5);
  options.secret = kSecret;
  return options;
}

FrameHeader Header(FrameType type, const ChunkId& id = {}) {
  FrameHeader header;
  header.type = type;
  header.chunk = id;
  return header;
}

class NodeServerTest : public testing::Test {
 protected:
  std::unique_ptr<PeerForTest> Connect(const NodeServer& server) {
    const net::HostPort address = server.address();
    auto socket = RunTask(loop_, net::Socket::Connect(loop_, address, {}, net::TestDeadline()));
    CHECK(socket, "{}", socket.error().message);
    return std::make_unique<PeerForTest>(loop_, std::move(*socket));
  }

  net::EventLoop loop_{"test"};
  const ChunkId id_{ObjectId(1), Version(2), 3};
  const wire::ChunkMeta meta_{.key = "key", .object_bytes = 7, .chunk_bytes = 7, .strip_bytes = 7};
};

TEST_F(NodeServerTest, ServesManyLinksFromOneStore) {
  NodeServer server(loop_, Options());
  ASSERT_TRUE(server.Start());
  EXPECT_NE(server.address().port, 0);
  std::vector<std::unique_ptr<PeerForTest>> peers;
  for (int i = 0; i < 10; ++i) {
    peers.push_back(Connect(server));
    const auto status = peers.back()->Authenticate(kSecret);
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_EQ(status->node, NodeId(5));
    EXPECT_EQ(status->instance, server.instance());
    EXPECT_EQ(status->bytes_limit, 8 * kMiB);
    EXPECT_EQ(status->chunks, i == 0 ? 0U : 1U);
    if (i == 0) {
      ASSERT_EQ(peers[0]->Put(id_, meta_, "content").header.type, FrameType::kStored);
    }
    EXPECT_EQ(peers.back()->Get(id_, 0, 7).front().payload, "content");
  }
  server.Stop();
  for (const auto& peer : peers) EXPECT_FALSE(peer->TryReceive());
  net::RunToEnd(loop_);
}

TEST_F(NodeServerTest, EachInstanceHasAnIdOfItsOwn) {
  std::set<InstanceId> ids = {InstanceId()};
  for (int i = 0; i < 20; ++i)
    EXPECT_TRUE(ids.insert(NodeServer(loop_, Options()).instance()).second);
}

TEST_F(NodeServerTest, ObeysTestHooksOnlyWhenToldTo) {
  for (const bool hooks : {false, true}) {
    NodeOptions options = Options();
    options.test_hooks = hooks;
    NodeServer server(loop_, options);
    ASSERT_TRUE(server.Start());
    auto peer = Connect(server);
    ASSERT_TRUE(peer->Authenticate(kSecret));
    ASSERT_EQ(peer->Put(id_, meta_, "content").header.type, FrameType::kStored);
    EXPECT_EQ(peer->Call(Header(FrameType::kCorruptForTest, id_)).header.type,
              hooks ? FrameType::kPong : FrameType::kError);
    EXPECT_EQ(peer->Get(id_, 0, 7).front().header.type,
              hooks ? FrameType::kError : FrameType::kData);
    server.Stop();
    net::RunToEnd(loop_);
  }
}

TEST_F(NodeServerTest, APeerWithAnotherSecretIsTurnedAway) {
  NodeServer server(loop_, Options());
  ASSERT_TRUE(server.Start());
  const auto status = Connect(server)->Authenticate("another secret");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnauthenticated);
  EXPECT_TRUE(Connect(server)->Authenticate(kSecret)) << "the server goes on";
  server.Stop();
  net::RunToEnd(loop_);
}

TEST_F(NodeServerTest, APortInUseIsNamed) {
  NodeServer first(loop_, Options());
  ASSERT_TRUE(first.Start());
  NodeOptions options = Options();
  options.listen = first.address();
  NodeServer second(loop_, options);
  const Status status = second.Start();
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr(first.address().ToString()));
  first.Stop();
  net::RunToEnd(loop_);
}

TEST_F(NodeServerTest, AnInvocationMayComeWhileTheLinksOfTheOneBeforeAreStillDialled) {
  net::Listener proxy(loop_);  // takes connections, and does not answer
  ASSERT_TRUE(proxy.Listen({"127.0.0.1", 0}));
  NodeOptions options = Options();
  options.listen = {};
  options.session.standing = false;
  NodeServer server(loop_, options);
  for (std::uint64_t session = 1; session <= 3; ++session) {
    server.Invoke({.session = SessionId(session), .proxy = proxy.address(), .data_links = 2});
    net::RunReady(loop_);
  }
  server.Stop();
  proxy.Close();
  net::RunToEnd(loop_);
}

TEST_F(NodeServerTest, StopEndsItInEveryState) {
  {
    NodeServer server(loop_, Options());
    ASSERT_TRUE(server.Start());
    server.Stop();  // before it has begun to accept
    net::RunToEnd(loop_);
  }
  NodeServer server(loop_, Options());
  ASSERT_TRUE(server.Start());
  auto silent = Connect(server);
  auto greeted = Connect(server);
  ASSERT_TRUE(greeted->Send(Header(FrameType::kHello), std::string(16, 'n')));
  auto linked = Connect(server);
  ASSERT_TRUE(linked->Authenticate(kSecret));
  auto writing = Connect(server);
  ASSERT_TRUE(writing->Authenticate(kSecret));
  writing->QueueBytes("half a frame");
  ASSERT_TRUE(writing->Flush());
  // This one is accepted, but not yet served, when the server stops.
  auto late = Connect(server);
  server.Stop();
  net::RunToEnd(loop_);
  EXPECT_EQ(greeted->Receive().header.type, FrameType::kChallenge);
  for (PeerForTest* peer : {silent.get(), greeted.get(), linked.get(), writing.get(), late.get()})
    EXPECT_FALSE(peer->TryReceive());
}

// A proxy that was restarted takes over a node in whose links to the old one a task still waits.
TEST_F(NodeServerTest, AnInvocationOfAnotherProxyMovesTheLinksThere) {
  NodeOptions options = Options();
  options.listen = {};
  NodeServer server(loop_, options);
  ASSERT_TRUE(server.Start());
  net::Listener mute(loop_);
  ASSERT_TRUE(mute.Listen({"127.0.0.1", 0}));
  server.Invoke({.session = SessionId(1), .proxy = mute.address(), .data_links = 1});
  ASSERT_TRUE(RunTask(loop_, mute.Accept(loop_))) << "the node has dialled, and is not answered";

  net::Listener restarted(loop_);
  ASSERT_TRUE(restarted.Listen({"127.0.0.1", 0}));
  // The second one comes while the first one's links are under way.
  server.Invoke({.session = SessionId(2), .proxy = restarted.address(), .data_links = 1});
  server.Invoke({.session = SessionId(3), .proxy = restarted.address(), .data_links = 1});
  EXPECT_TRUE(RunTask(loop_, restarted.Accept(loop_)));
  server.Stop();
  net::RunToEnd(loop_);
}

}  // namespace
}  // namespace infinicache::node
