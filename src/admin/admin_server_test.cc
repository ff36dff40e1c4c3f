#include "admin/admin_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <boost/json.hpp>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "net/frame_reader.h"
#include "net/handshake.h"
#include "net/http_client.h"
#include "net/testing.h"
#include "platform/platform.h"
#include "wire/frame.h"
#include "wire/session_frames.h"

namespace infinicache::admin {
namespace {

namespace json = boost::json;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

constexpr char kSecret[] = "test secret";
constexpr Duration kLong = std::chrono::seconds(60);

// Instances that are ready when the test says so.
class ManualPlatform final : public platform::Platform {
 public:
  const platform::Traits& traits() const override { return traits_; }
  void set_observer(platform::Observer* observer) override { observer_ = observer; }
  void Invoke(NodeId node, const platform::Invocation& invocation) override {
    ++invocations[node];
    sessions[node] = invocation.session;
  }
  platform::InstanceCounts Count() const override { return {}; }
  Status Reclaim(NodeId node) override {
    reclaimed.push_back(node);
    return {};
  }
  void Stop(Duration /*grace*/) override {}

  void MakeReady(NodeId node, net::HostPort address) {
    observer_->OnInstanceReady({node, InstanceId(100 + node.value()), std::move(address), 0});
  }

  std::vector<NodeId> reclaimed;
  std::map<NodeId, SessionId> sessions;
  std::map<NodeId, int> invocations;

 private:
  platform::Traits traits_{.node_memory_bytes = 64 * kMiB};
  platform::Observer* observer_ = nullptr;
};

// The far end of a node's links: opens the session on the control link, records the frames that
// come on the others, and answers each with `answer`.
struct FakeNode {
  FakeNode(net::EventLoop& l, ManualPlatform& p, std::uint32_t n)
      : loop(l), platform(p), node(n), listener(l) {}

  net::Task<> Accept() {
    for (;;) {
      auto socket = co_await listener.Accept(loop);
      if (!socket) co_return;
      loop.Spawn(Serve(std::move(*socket)));
    }
  }

  net::Task<> Serve(net::Socket socket) {
    net::FrameReader reader(socket, wire::kFrameHeaderBytes);
    const InstanceId instance(100 + node.value());
    const wire::NodeStatus status{.node = node, .instance = instance};
    const auto number = co_await net::HandshakeAsAcceptor(socket, reader, kSecret, status,
                                                          net::EventLoop::Now() + kLong);
    if (!number) co_return;
    if (*number == net::kControlLink) {
      const auto pong = wire::EncodePong({platform.sessions[node], instance, kLong, {}});
      if (!co_await net::SendMetaFrame(socket, pong, "")) co_return;
    }
    for (;;) {
      const auto header = co_await reader.ReadHeader();
      if (!header) co_return;
      if (*number == net::kControlLink) continue;  // told of something, and not asked
      frames.push_back(*header);
      answer.request = header->request;
      const auto sent = co_await net::SendMetaFrame(socket, answer, "");
      if (!sent) co_return;
    }
  }

  net::EventLoop& loop;
  ManualPlatform& platform;
  const NodeId node;
  net::Listener listener;
  wire::FrameHeader answer;
  std::vector<wire::FrameHeader> frames;
};

net::Task<> Keep(net::Task<Result<net::HttpResponse>> call,
                 std::optional<Result<net::HttpResponse>>& result, net::EventLoop& loop) {
  result.emplace(co_await std::move(call));
  loop.Stop();
}

// A pool of four nodes with code 2+1; control and data share one loop.
class AdminServerTest : public testing::Test {
 protected:
  AdminServerTest()
      : pool_(loop_, platform_, {.nodes = 4, .secret = kSecret, .link_socket = {}}),
        loops_{&loop_},
        cache_(loop_, pool_, clock_, {.code = {2, 1}}, loops_),
        front_(loop_, cache_, pool_, {}) {
    for (std::uint32_t i = 0; i < pool_.size(); ++i) {
      fakes_.push_back(std::make_unique<FakeNode>(loop_, platform_, i));
      EXPECT_TRUE(fakes_.back()->listener.Listen({"127.0.0.1", 0}));
      loop_.Spawn(fakes_.back()->Accept());
    }
    pool_.Start();
  }

  ~AdminServerTest() override {
    cache_.Stop();
    pool_.Stop(Duration(0));
    for (const auto& fake : fakes_) fake->listener.Close();
    admin_.reset();
    while (loop_.active_tasks() > 0) loop_.context().run_one();
  }

  void Start(bool test_hooks = false) {
    admin_.emplace(loop_, cache_, pool_, front_,
                   AdminOptions{{"127.0.0.1", 0}, "1.2.3", "manual", test_hooks, terms_});
    ASSERT_TRUE(admin_->Listen());
    admin_->Start();
  }

  void MakeReady(std::uint32_t nodes) {
    for (std::uint32_t i = 0; i < nodes; ++i) {
      if (made_ready_.insert(i).second)
        platform_.MakeReady(NodeId(i), fakes_[i]->listener.address());
    }
    while (pool_.active() < nodes) loop_.context().run_one();
  }

  void ConnectNodeZero() {
    MakeReady(1);
    while (!cache_.worker(0).links().at(NodeId(0)).connected()) loop_.context().run_one();
  }

  // Puts an object into the directory whose chunk 0 is on node 0 and whose others are nowhere.
  cache::ObjectRef Store(const std::string& key) {
    auto object = std::make_shared<cache::ObjectRecord>(
        key, cache::HashKey(key), cache_.shared().NextVersion(),
        coding::StripeLayout::For(1000, {2, 1}), cache_.shared().reclaimer);
    object->set_place(0, {NodeId(0), pool::Epoch(1)});
    cache_.directory().Commit(object, cache::Directory::Condition::kAlways, false);
    return object;
  }

  net::HttpResponse Call(std::string method, std::string target) {
    std::optional<Result<net::HttpResponse>> result;
    auto call = net::HttpCall(loop_, admin_->address(), std::move(method), std::move(target), "",
                              net::EventLoop::Now() + kLong);
    loop_.Spawn(Keep(std::move(call), result, loop_));
    loop_.Run();
    loop_.context().restart();
    EXPECT_TRUE(*result);
    return result->value_or(net::HttpResponse{});
  }

  void ExpectError(const net::HttpResponse& response, int status) {
    EXPECT_EQ(response.status, status) << response.body;
    EXPECT_EQ(response.content_type, "application/json");
    json::error_code error;
    EXPECT_TRUE(json::parse(response.body, error).as_object().contains("error"));
  }

  net::EventLoop loop_{"test"};
  SystemClock clock_;
  ManualPlatform platform_;
  pool::Pool pool_;
  std::array<net::EventLoop*, 1> loops_;
  cache::Cache cache_;
  proxy::Server front_;
  std::vector<std::unique_ptr<FakeNode>> fakes_;
  std::set<std::uint32_t> made_ready_;
  CostTerms terms_;
  std::optional<AdminServer> admin_;
};

TEST_F(AdminServerTest, IsReadyWhenTheCodesNodesAreActiveAndSaysWhyNot) {
  Start();
  EXPECT_EQ(Call("GET", "/healthz").body, "ok\n");
  MakeReady(2);
  const auto not_ready = Call("GET", "/readyz");
  EXPECT_EQ(not_ready.status, 503);
  EXPECT_EQ(not_ready.body, "not ready: 2 of 4 nodes serve, code 2+1 needs 3\n");
  MakeReady(3);
  EXPECT_EQ(Call("GET", "/readyz").status, 200);
}

TEST_F(AdminServerTest, ServesStatusNodesAndMetrics) {
  Start();
  MakeReady(3);
  Store("k");
  const auto status = Call("GET", "/api/v1/status");
  EXPECT_EQ(status.content_type, "application/json");
  const json::value view = json::parse(status.body);
  EXPECT_EQ(view.at("version"), "1.2.3");
  EXPECT_EQ(view.at("platform"), "manual");
  EXPECT_EQ(view.at("ready"), true);
  EXPECT_EQ(view.at("objects"), 1);
  EXPECT_EQ(view.at("object_bytes"), 1000);
  EXPECT_EQ(view.at("capacity_bytes"), 3 * 64 * kMiB);
  EXPECT_GT(view.at("memory_rss_bytes").to_number<std::uint64_t>(), kMiB);
  EXPECT_EQ(view.at("memory").at("budget_limit_bytes"), cache_.options().budget_bytes_per_loop);
  const json::value nodes = json::parse(Call("GET", "/api/v1/nodes").body);
  ASSERT_EQ(nodes.as_array().size(), 4U);
  EXPECT_EQ(nodes.at(2).at("state"), "active");
  EXPECT_EQ(nodes.at(3).at("state"), "starting");
  const auto metrics = Call("GET", "/metrics");
  EXPECT_EQ(metrics.content_type, "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_THAT(metrics.body, HasSubstr("\ninfinicache_objects 1\n"));
  EXPECT_THAT(metrics.body, HasSubstr("\ninfinicache_commands_total{command=\"get\"} 0\n"));
}

TEST_F(AdminServerTest, GivesEventsAfterANumberAndRefusesWhatIsNone) {
  Start();
  MakeReady(3);
  const json::value all = json::parse(Call("GET", "/api/v1/events").body);
  ASSERT_EQ(all.at("events").as_array().size(), 3U);
  EXPECT_EQ(all.at("last_id"), 3);
  EXPECT_EQ(all.at("events").at(1).at("id"), 2);
  EXPECT_EQ(all.at("events").at(1).at("kind"), "instance_started");
  EXPECT_EQ(all.at("events").at(1).at("node"), 1);
  EXPECT_EQ(all.at("events").at(1).at("instance"), "0000000000000065");
  const json::value some = json::parse(Call("GET", "/api/v1/events?after=1&limit=1").body);
  ASSERT_EQ(some.at("events").as_array().size(), 1U);
  EXPECT_EQ(some.at("events").at(0).at("id"), 2);
  const json::value none = json::parse(Call("GET", "/api/v1/events?after=3&wait_ms=1").body);
  EXPECT_TRUE(none.at("events").as_array().empty());
  for (const char* query : {"after=x", "after=-1", "limit=5000", "wait_ms=30001", "after="})
    ExpectError(Call("GET", std::string("/api/v1/events?") + query), 400);
}

TEST_F(AdminServerTest, TellsTheCostAtThePricesOfItsSettings) {
  terms_.preset = "mine";
  terms_.price = {"pods", "", "", "", policy::InstanceHoursPrice{1, 0, 0, 0, 0, false}};
  Start();
  MakeReady(3);
  const auto response = Call("GET", "/api/v1/cost");
  ASSERT_EQ(response.status, 200);
  EXPECT_EQ(response.content_type, "application/json");
  const json::value cost = json::parse(response.body);
  EXPECT_EQ(cost.at("preset"), "mine");
  EXPECT_EQ(cost.at("price").at("name"), "pods");
  EXPECT_EQ(cost.at("sessions"), 3) << "those of the nodes that answered";
  EXPECT_EQ(cost.at("nodes").at("active"), 3);
  EXPECT_EQ(cost.at("nodes").at("total"), 4);
  EXPECT_EQ(cost.at("requests"), 0);
  EXPECT_EQ(cost.at("warm_up_interval_seconds"), nullptr);
  EXPECT_THAT(Call("GET", "/metrics").body,
              HasSubstr("\ninfinicache_sessions_total{cause=\"serving\"} 3\n"));
}

TEST_F(AdminServerTest, StreamsEventsAsTheyHappenToABoundedNumber) {
  Start();
  MakeReady(1);
  std::vector<net::Socket> sockets;
  const auto open = [&](const std::string& query) {
    auto socket = net::RunTask(
        loop_, net::Socket::Connect(loop_, admin_->address(), {}, net::TestDeadline()));
    EXPECT_TRUE(socket);
    const std::string request = "GET /api/v1/events" + query +
                                " HTTP/1.1\r\nAccept: text/event-stream\r\n"
                                "Last-Event-ID: 0\r\n\r\n";
    std::array<iovec, 1> pieces{net::ToIovec(request)};
    EXPECT_TRUE(net::RunTask(loop_, socket->WriteAll(pieces)));
    sockets.push_back(std::move(*socket));
  };
  const auto read_until = [&](net::Socket& socket, std::string_view end) {
    std::string text;
    std::array<std::byte, 4096> buffer;
    while (text.find(end) == std::string::npos) {
      const auto bytes = net::RunTask(loop_, socket.ReadSome(buffer));
      if (!bytes) break;
      text.append(reinterpret_cast<const char*>(buffer.data()), *bytes);
    }
    return text;
  };
  for (std::size_t i = 0; i < EventStreams::kStreamsMax; ++i) {
    open("");
    const std::string begin = read_until(sockets.back(), "\"instance_started\"");
    EXPECT_THAT(begin, HasSubstr("\r\nContent-Type: text/event-stream\r\n"));
    EXPECT_THAT(begin, HasSubstr("id: 1\nevent: instance_started\ndata: {\"id\":1,"));
  }
  ExpectError(Call("GET", "/api/v1/events?stream=1"), 503);
  EXPECT_EQ(Call("GET", "/api/v1/events").status, 200) << "other answers are still given";
  MakeReady(2);
  for (net::Socket& socket : sockets)
    EXPECT_THAT(read_until(socket, "}\n\n"), HasSubstr("id: 2\n"));

  sockets.pop_back();  // another may take its place
  net::RunUntil(loop_, [&] { return Call("HEAD", "/api/v1/events?stream=1").status == 200; });
  ExpectError(Call("GET", "/api/v1/events?stream=1&after=x"), 400);
  admin_->Stop();
  for (net::Socket& socket : sockets) EXPECT_EQ(read_until(socket, "never"), "");
}

TEST_F(AdminServerTest, AnInstanceIsReclaimedOnCommandOnlyWithTestHooks) {
  Start(true);
  EXPECT_EQ(Call("POST", "/api/v1/test/reclaim?node=2").body, "{\"node\":2}\n");
  EXPECT_EQ(platform_.reclaimed, std::vector<NodeId>{NodeId(2)});
  ExpectError(Call("POST", "/api/v1/test/reclaim?node=4"), 404);
  ExpectError(Call("POST", "/api/v1/test/reclaim"), 400);
  ExpectError(Call("POST", "/api/v1/test/reclaim?node=99999999999"), 400);
  ExpectError(Call("GET", "/api/v1/test/reclaim?node=2"), 405);
}

TEST_F(AdminServerTest, AnInvocationIsRepeatedOnCommandOnlyWithTestHooks) {
  Start(true);
  const SessionId session = platform_.sessions.at(NodeId(2));
  EXPECT_EQ(Call("POST", "/api/v1/test/repeat?node=2").body, "{\"node\":2}\n");
  EXPECT_EQ(platform_.sessions.at(NodeId(2)), session) << "it is the same one";
  EXPECT_EQ(platform_.invocations.at(NodeId(2)), 2);
  ExpectError(Call("POST", "/api/v1/test/repeat?node=4"), 404);
}

TEST_F(AdminServerTest, WithoutTestHooksNothingIsDoneOnCommand) {
  Start(false);
  ExpectError(Call("POST", "/api/v1/test/reclaim?node=2"), 404);
  ExpectError(Call("POST", "/api/v1/test/repeat?node=2"), 404);
  EXPECT_TRUE(platform_.reclaimed.empty());
}

TEST_F(AdminServerTest, FindsAnObjectByItsEncodedKey) {
  Start();
  MakeReady(1);
  const std::string key("a/b\0\xFF", 5);
  Store(key);
  const auto response = Call("GET", "/api/v1/objects/" + net::PercentEncode(key));
  ASSERT_EQ(response.status, 200);
  const json::value view = json::parse(response.body);
  EXPECT_EQ(view.at("key_encoded"), "a%2Fb%00%FF");
  EXPECT_EQ(view.at("surviving"), 1);
  EXPECT_EQ(view.at("chunks").at(0).at("node"), 0);
  ExpectError(Call("GET", "/api/v1/objects/a"), 404);
}

TEST_F(AdminServerTest, RefusesOtherMethodsAndUnknownPaths) {
  Start();
  ExpectError(Call("GET", "/nothing"), 404);
  const auto posted = Call("POST", "/metrics");
  ExpectError(posted, 405);
  EXPECT_THAT(posted.headers, Contains(Pair("Allow", "GET, HEAD")));
  EXPECT_EQ(Call("HEAD", "/metrics").status, 200);
}

TEST_F(AdminServerTest, TheDashboardNeedsNothingFromElsewhere) {
  Start();
  const auto page = Call("GET", "/");
  EXPECT_EQ(page.content_type, "text/html; charset=utf-8");
  EXPECT_THAT(page.body, HasSubstr("/api/v1/status"));
  for (const char* foreign : {"http:", "https:", "src=", "@import", "url("})
    EXPECT_THAT(page.body, Not(HasSubstr(foreign)));
}

TEST_F(AdminServerTest, AChunkIsCorruptedAtItsNode) {
  Start(true);
  ConnectNodeZero();
  const cache::ObjectRef object = Store("k");
  fakes_[0]->answer.type = wire::FrameType::kPong;
  const auto response = Call("POST", "/api/v1/test/corrupt?key=k&chunk=0&byte=17");
  EXPECT_EQ(response.body, "{\"node\":0,\"chunk\":0,\"byte\":17}\n");
  ASSERT_EQ(fakes_[0]->frames.size(), 1U);
  EXPECT_EQ(fakes_[0]->frames[0].type, wire::FrameType::kCorruptForTest);
  EXPECT_EQ(fakes_[0]->frames[0].chunk, object->chunk(0));
  EXPECT_EQ(fakes_[0]->frames[0].offset, 17U);
  fakes_[0]->answer.type = wire::FrameType::kError;
  fakes_[0]->answer.status = ErrorCode::kNotFound;
  ExpectError(Call("POST", "/api/v1/test/corrupt?key=k"), 404);
}

TEST_F(AdminServerTest, AChunkThatCannotBeCorruptedIsAnError) {
  Start(true);
  MakeReady(1);
  Store("k");
  const std::string path = "/api/v1/test/corrupt?";
  ExpectError(Call("POST", path), 400);
  ExpectError(Call("POST", path + "key=absent"), 404);
  ExpectError(Call("POST", path + "key=k&chunk=3"), 400);
  ExpectError(Call("POST", path + "key=k&byte=512"), 400);
  ExpectError(Call("POST", path + "key=k&chunk=1"), 503);
  ExpectError(Call("GET", path + "key=k"), 405);
}

TEST_F(AdminServerTest, WithoutTestHooksNothingIsCorrupted) {
  Start(false);
  ConnectNodeZero();
  Store("k");
  ExpectError(Call("POST", "/api/v1/test/corrupt?key=k"), 404);
  EXPECT_TRUE(fakes_[0]->frames.empty());
}

}  // namespace
}  // namespace infinicache::admin
