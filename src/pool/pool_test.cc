#include "pool/pool.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "net/testing.h"
#include "node/node_server.h"
#include "pool/link_for_test.h"

namespace infinicache::pool {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr std::uint64_t kNodeBytes = 8 * kMiB;

// Its instances are servers on the control loop; a test ends them, or lets invocations fail.
class FakePlatform final : public platform::Platform {
 public:
  explicit FakePlatform(net::EventLoop& control) : control_(control) {
    traits_.node_memory_bytes = kNodeBytes;
  }

  const platform::Traits& traits() const override { return traits_; }
  void set_observer(platform::Observer* observer) override { observer_ = observer; }
  void Invoke(NodeId node, const platform::Invocation& invocation) override {
    invoked.emplace_back(node, net::EventLoop::Now());
    if (failing > 0) {
      --failing;
      control_.Post([this, node, session = invocation.session] {
        platform::SessionEnd end;
        end.fault = Error{ErrorCode::kUnavailable, "no instance today"};
        end.ran = false;
        observer_->OnSessionEnded(node, session, end);
      });
      return;
    }
    sessions_[node] = invocation.session;
    node::NodeOptions options;
    options.memory_bytes = kNodeBytes;
    options.node = node;
    options.secret = kSecretForTest;
    auto server = std::make_unique<node::NodeServer>(control_, options);
    const Status started = server->Start();
    CHECK(started, "{}", started.error().message);
    const platform::Instance instance{node, server->instance(), server->address(),
                                      static_cast<int>(100 + node.value())};
    server->Invoke({invocation.session});
    servers_[node] = std::move(server);
    instances[node] = instance;
    control_.Post([this, instance] { observer_->OnInstanceReady(instance); });
  }
  void Stop(Duration grace) override {
    stopped_with = grace;
    for (const auto& [node, server] : servers_) server->Stop();
  }

  Status Reclaim(NodeId node) override {
    if (!servers_.contains(node)) return Fail(ErrorCode::kNotFound, "no instance");
    control_.Post([this, node] { End(node, {true, "reclaimed"}); });
    return {};
  }

  // The instance of `node` ends, as by a kill.
  void End(NodeId node, const platform::InstanceEnd& end = {false, "killed by a test"},
           Duration session = Duration(0)) {
    servers_[node]->Stop();
    retired_.push_back(std::move(servers_[node]));
    servers_.erase(node);
    platform::SessionEnd session_end;
    session_end.fault = Error{ErrorCode::kUnavailable, end.reason};
    session_end.reclaimed = end.reclaimed;
    session_end.duration = session;
    observer_->OnSessionEnded(node, sessions_[node], session_end);
    observer_->OnInstanceEnded(instances[node], end);
  }
  // Tells of one more instance of `node`, which nobody can reach.
  void StartBeside(NodeId node) {
    platform::Instance instance = instances[node];
    instance.id = InstanceId(4711);
    observer_->OnInstanceReady(instance);
  }
  platform::InstanceCounts Count() const override { return {servers_.size(), 0, 0}; }

  std::vector<std::pair<NodeId, TimePoint>> invoked;
  int failing = 0;  // invocations that fail from now on
  std::map<NodeId, platform::Instance> instances;
  std::optional<Duration> stopped_with;

 private:
  net::EventLoop& control_;
  platform::Traits traits_;
  platform::Observer* observer_ = nullptr;
  std::map<NodeId, SessionId> sessions_;
  std::map<NodeId, std::unique_ptr<node::NodeServer>> servers_;
  std::vector<std::unique_ptr<node::NodeServer>> retired_;  // their connections end later
};

class PoolTest : public testing::Test {
 protected:
  ~PoolTest() override {
    if (!platform_.stopped_with) pool_.Stop(Duration(0));
    net::RunToEnd(loop_);
  }

  static PoolOptions Options() {
    PoolOptions options;
    options.nodes = 3;
    options.secret = kSecretForTest;
    options.seed = 9;
    return options;
  }

  void Start() {
    pool_.set_on_instance_lost(
        [this](NodeId node, Epoch epoch, InstanceId) { lost_.emplace_back(node, epoch); });
    pool_.Start();
  }
  void StartAndConnect() {
    Start();
    AwaitConnected(pool_.size());
  }
  void AwaitConnected(std::size_t links) {
    net::RunUntil(loop_, [&] { return links_.connected() == links; });
  }
  std::size_t InvocationsOf(NodeId node) const {
    return static_cast<std::size_t>(std::ranges::count_if(
        platform_.invoked, [&](const auto& invocation) { return invocation.first == node; }));
  }

  net::EventLoop loop_{"test"};
  FakePlatform platform_{loop_};
  Pool pool_{loop_, platform_, Options()};
  LoopLinks& links_ = pool_.AddLoop(loop_);
  std::vector<std::pair<NodeId, Epoch>> lost_;
};

TEST_F(PoolTest, AReclaimedInstanceIsReplacedAtOnceHoweverOftenItHappens) {
  Start();
  AwaitConnected(3);
  EXPECT_EQ(pool_.Reclaim(NodeId(3)).error().code, ErrorCode::kNotFound);
  constexpr std::size_t kReclaims = 8;  // by then a failing node would wait for seconds
  for (std::size_t i = 1; i <= kReclaims; ++i) {
    const std::size_t invocations = platform_.invoked.size();
    ASSERT_TRUE(pool_.Reclaim(NodeId(1)));
    net::RunUntil(loop_, [&] { return platform_.invoked.size() > invocations; });
    AwaitConnected(3);
    EXPECT_EQ(lost_.size(), i);
  }
  const TimePoint last = platform_.invoked.back().second;
  const TimePoint before = platform_.invoked[platform_.invoked.size() - 2].second;
  EXPECT_LT(last - before, std::chrono::seconds(2)) << "the back-off of failures was applied";
  EXPECT_EQ(Read(pool_.stats().instances_reclaimed), kReclaims);
  EXPECT_EQ(Read(pool_.stats().instances_ended), kReclaims);
}

TEST_F(PoolTest, TellsWhatHappenedInItsEvents) {
  platform_.failing = 1;
  Start();
  AwaitConnected(3);
  platform_.End(NodeId(2));
  ASSERT_TRUE(pool_.Reclaim(NodeId(0)));
  net::RunUntil(loop_, [&] { return pool_.events().last_id() >= 8; });
  std::map<std::string, int> kinds;
  for (const Event& event : pool_.events().After(0, 100))
    ++kinds[std::string(EventKindName(event.kind))];
  EXPECT_EQ(kinds["invocation_failed"], 1);
  EXPECT_EQ(kinds["instance_started"], 5);
  EXPECT_EQ(kinds["instance_ended"], 1);
  EXPECT_EQ(kinds["instance_reclaimed"], 1);
}

TEST_F(PoolTest, TellsOfAnInstanceBesideAnother) {
  StartAndConnect();
  const InstanceId first = platform_.instances[NodeId(1)].id;
  platform_.StartBeside(NodeId(1));
  const auto events = pool_.events().After(3, 100);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(EventKindName(events[0].kind), "second_instance");
  EXPECT_EQ(events[0].node, NodeId(1));
  EXPECT_EQ(events[0].detail, fmt::format("beside {:016x}", first.value()));
}

TEST_F(PoolTest, MetersSessionsFromTheirPongAndNoSumFallsWhenTheyEnd) {
  platform_.failing = 1;
  Start();
  EXPECT_EQ(pool_.Metered().Total().sessions, 0U) << "nobody has answered yet";
  AwaitConnected(3);
  const policy::SessionSums open = pool_.Metered().Total();
  EXPECT_EQ(open.sessions, 3U) << "an invocation that failed is none";
  net::RunTask(loop_, loop_.Sleep(milliseconds(2)));
  const policy::SessionSums later = pool_.Metered().Total();
  EXPECT_TRUE(later.billed_ns > open.billed_ns) << "those under way go on";

  const auto duration = std::chrono::hours(1);  // as the platform says
  platform_.End(NodeId(1), {false, "killed by a test"}, duration);
  const policy::SessionSums ended = pool_.Metered().Total();
  EXPECT_EQ(ended.sessions, 3U);
  EXPECT_TRUE(ended.billed_ns > later.billed_ns);
  EXPECT_EQ(pool_.Metered().sums(policy::Cause::kServing).sessions, 3U);
}

TEST_F(PoolTest, StartsAnInstanceOfEveryNodeAndLinksToIt) {
  EXPECT_EQ(pool_.size(), 3U);
  EXPECT_EQ(pool_.active(), 0U);
  EXPECT_EQ(pool_.View()[0].state, NodeState::kDown);
  Start();
  EXPECT_EQ(pool_.View()[0].state, NodeState::kStarting);
  AwaitConnected(3);
  EXPECT_EQ(pool_.active(), 3U);
  EXPECT_EQ(Read(pool_.stats().instances_started), 3U);
  EXPECT_THAT(lost_, IsEmpty());
  const std::vector<NodeView> rows = pool_.View();
  ASSERT_EQ(rows.size(), 3U);
  for (std::uint32_t i = 0; i < 3; ++i) {
    const platform::Instance& instance = platform_.instances[NodeId(i)];
    EXPECT_EQ(rows[i].id, NodeId(i));
    EXPECT_EQ(rows[i].state, NodeState::kActive);
    EXPECT_EQ(rows[i].instance, instance.id);
    EXPECT_EQ(rows[i].pid, static_cast<int>(100 + i));
    EXPECT_EQ(rows[i].address, instance.address.ToString());
    EXPECT_EQ(rows[i].bytes_limit, kNodeBytes);
    EXPECT_EQ(rows[i].bytes_used, 0U);
    EXPECT_EQ(links_.at(NodeId(i)).node(), NodeId(i));
    EXPECT_EQ(links_.at(NodeId(i)).epoch(), Epoch(1));
    EXPECT_TRUE(pool_.shared(NodeId(i)).Holds(Epoch(1)));
  }
}

TEST_F(PoolTest, EachInstanceOfANodeHasAnEpochOfItsOwn) {
  StartAndConnect();
  const NodeId node(1);
  for (std::uint32_t epoch = 1; epoch <= 3; ++epoch) {
    ASSERT_EQ(links_.at(node).epoch(), Epoch(epoch));
    pool_.shared()[node.value()].bytes_used = 1000;
    lost_.clear();
    platform_.End(node);

    EXPECT_THAT(lost_, ElementsAre(Pair(node, Epoch(epoch)))) << "told at once, and once";
    EXPECT_FALSE(pool_.shared(node).Holds(Epoch(epoch)));
    EXPECT_EQ(pool_.active(), 2U);
    const NodeView down = pool_.View()[1];
    EXPECT_EQ(down.state, NodeState::kDown);
    EXPECT_EQ(down.instance, InstanceId());
    EXPECT_EQ(down.pid, 0);
    EXPECT_EQ(down.address, "");
    EXPECT_EQ(down.bytes_used, 0U);
    AwaitConnected(2);

    AwaitConnected(3);
    EXPECT_TRUE(pool_.shared(node).Holds(Epoch(epoch + 1)));
    EXPECT_EQ(pool_.View()[1].state, NodeState::kActive);
  }
  EXPECT_EQ(Read(pool_.stats().instances_started), 6U);
  EXPECT_EQ(Read(pool_.stats().instances_ended), 3U);
  EXPECT_EQ(links_.at(NodeId(0)).epoch(), Epoch(1)) << "the other nodes go on";
}

TEST_F(PoolTest, FailedInvocationsAreRepeatedAfterEverLongerWaits) {
  platform_.failing = 3;
  Start();  // the first invocation of each node fails
  net::RunUntil(loop_, [&] { return Read(pool_.stats().invocations_failed) == 3; });
  EXPECT_EQ(platform_.invoked.size(), 3U) << "not again at once";
  EXPECT_EQ(pool_.View()[0].state, NodeState::kDown);
  EXPECT_THAT(lost_, IsEmpty()) << "there was no instance to lose";
  AwaitConnected(3);
  EXPECT_EQ(pool_.shared(NodeId(0)).epoch, 1U);
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(InvocationsOf(NodeId(i)), 2U);

  // Waits of 50, 100, 200 and 400 ms, of which up to a half is jitter; the first was used up above.
  const NodeId node(2);
  platform_.failing = 2;
  platform_.invoked.clear();
  const TimePoint ended = net::EventLoop::Now();
  platform_.End(node);
  AwaitConnected(2);
  AwaitConnected(3);
  ASSERT_EQ(platform_.invoked.size(), 3U);
  EXPECT_GE(platform_.invoked[0].second - ended, milliseconds(50));
  EXPECT_GE(platform_.invoked[1].second - platform_.invoked[0].second, milliseconds(100));
  EXPECT_GE(platform_.invoked[2].second - platform_.invoked[1].second, milliseconds(200));
}

TEST_F(PoolTest, StopEndsLinksAndInstancesAndInvokesNothingMore) {
  StartAndConnect();
  SinkForTest sink;
  links_.at(NodeId(0)).Register(&sink);
  platform_.End(NodeId(2));  // its next invocation is due soon
  const std::size_t invocations = platform_.invoked.size();
  pool_.Stop(milliseconds(1234));
  EXPECT_EQ(platform_.stopped_with, milliseconds(1234));
  net::RunToEnd(loop_);
  EXPECT_EQ(links_.connected(), 0U);
  EXPECT_EQ(sink.lost.size(), 1U);
  net::RunTask(loop_, loop_.Sleep(milliseconds(60)));
  EXPECT_EQ(platform_.invoked.size(), invocations);
}

TEST_F(PoolTest, StopBeforeAnInstanceIsReadyInvokesNothingMore) {
  platform_.failing = 3;
  Start();
  pool_.Stop(Duration(0));
  net::RunToEnd(loop_);
  net::RunTask(loop_, loop_.Sleep(milliseconds(60)));
  EXPECT_EQ(platform_.invoked.size(), 3U);
}

// What `question` answers on `loop`, which another thread runs. Runs `control` meanwhile.
template <typename Question>
auto AskOn(net::EventLoop& loop, net::EventLoop& control, const Question& question) {
  std::optional<decltype(question())> answer;
  loop.Post([&] { control.Post([&answer, value = question()] { answer = value; }); });
  net::RunUntil(control, [&] { return answer.has_value(); });
  return *answer;
}

// Also what a thread sanitizer watches: every loop has its links, any thread may look.
TEST(PoolThreads, EveryLoopHasItsLinksAndAnyThreadMayLook) {
  net::EventLoop control("control");
  net::EventLoop data("data");
  FakePlatform platform(control);
  PoolOptions options;
  options.nodes = 2;
  options.secret = kSecretForTest;
  Pool pool(control, platform, options);
  LoopLinks& here = pool.AddLoop(control);
  LoopLinks& there = pool.AddLoop(data);
  data.Start();
  std::atomic<bool> looking = true;
  std::thread onlooker([&] {
    while (looking) {
      for (const NodeView& row : pool.View()) EXPECT_LE(row.bytes_used, kNodeBytes);
      EXPECT_LE(pool.active(), 2U);
    }
  });

  const auto await_both = [&](Epoch epoch) {
    const auto connected = [&](LoopLinks& links) {
      return std::ranges::count_if(links.all(),
                                   [&](const auto& link) { return link->epoch() == epoch; });
    };
    const TimePoint deadline = net::TestDeadline();
    // Asking runs the control loop.
    while (AskOn(data, control, [&] { return connected(there); }) + connected(here) < 4)
      ASSERT_LT(net::EventLoop::Now(), deadline);
  };
  pool.Start();
  await_both(Epoch(1));
  for (std::uint32_t i = 0; i < 2; ++i) platform.End(NodeId(i));
  await_both(Epoch(2));

  pool.Stop(Duration(0));
  net::RunToEnd(control);
  while (AskOn(data, control, [&] { return data.active_tasks(); }) > 0) {
  }
  looking = false;
  onlooker.join();
  data.Stop();
  data.Join();
}

// --- Gates: links to nodes that sleep -----------------------------------------------------------

class SleepingLinkTest : public testing::Test {
 protected:
  static constexpr Gate kClosed = {true, TimePoint::min()};
  static constexpr Gate kOpen = {true, TimePoint::max()};

  SleepingLinkTest() {
    node_.emplace(loop_);
    LinkOptions options;
    options.node = NodeId(4);
    options.secret = kSecretForTest;
    options.gate = kClosed;
    options.tell_pool = [this](NodeId, LinkEvent event) {
      if (event == LinkEvent::kDemand) ++demands_;
      if (event == LinkEvent::kCrossed) ++crossings_;
    };
    sleeping_.emplace(loop_, shared_, options);
    loop_.Spawn(sleeping_->Run());
    sleeping_->SetInstance(Epoch(1), InstanceId(5), node_->address());
    socket_ = &node_->AwaitLink(1);
    const Status linked =
        node_->Authenticate(*socket_, {.node = NodeId(4), .instance = InstanceId(5)});
    CHECK(linked, "{}", linked.error().message);
    net::RunUntil(loop_, [&] { return sleeping_->connected(); });
  }
  ~SleepingLinkTest() override {
    sleeping_->Stop();
    node_.reset();
    net::RunToEnd(loop_);
  }

  // A request of `sink` that the node has got.
  std::uint64_t Ask(SinkForTest& sink) {
    wire::FrameHeader header;
    header.type = wire::FrameType::kPing;
    header.request = sleeping_->Register(&sink);
    sleeping_->Send(header);
    return header.request;
  }
  // The answer is in the socket before the link has had a chance to read it.
  void AnswerUnseen(std::uint64_t request) {
    wire::FrameHeader pong;
    pong.type = wire::FrameType::kPong;
    pong.request = request;
    std::array<std::byte, wire::kFrameHeaderBytes> bytes;
    wire::EncodeFrameHeader(pong, bytes);
    const std::array<iovec, 1> pieces = {net::ToIovec(bytes)};
    ASSERT_TRUE(socket_->TryWrite(pieces));
  }

  net::EventLoop loop_{"test"};
  NodeShared shared_;
  SinkForTest sink_;
  SinkForTest other_;
  std::optional<PassiveNodeForTest> node_;
  std::optional<Link> sleeping_;
  net::Socket* socket_ = nullptr;
  int demands_ = 0;
  int crossings_ = 0;
};

TEST_F(SleepingLinkTest, ARequestWaitsForTheGateAndAsksForItOnce) {
  const std::uint64_t sent = sleeping_->bytes_sent();
  Ask(sink_);
  Ask(other_);
  net::RunReady(loop_);
  EXPECT_EQ(demands_, 1);
  EXPECT_EQ(sleeping_->bytes_sent(), sent) << "nothing may reach a node that sleeps";
  sleeping_->SetGate(kOpen);
  EXPECT_GT(sleeping_->bytes_sent(), sent);
}

TEST_F(SleepingLinkTest, AnswersThatAreHereWhenTheNodeFallsAsleepNeedNoOtherSession) {
  sleeping_->SetGate(kOpen);
  sink_.forgets = true;
  AnswerUnseen(Ask(sink_));
  sleeping_->SetGate(kClosed);
  EXPECT_EQ(demands_, 0);
  net::RunUntil(loop_, [&] { return !sink_.frames.empty(); });
  net::RunReady(loop_);
  EXPECT_EQ(demands_, 0);
}

TEST_F(SleepingLinkTest, WhatIsUnansweredWhenTheAnswersHereAreTakenNeedsAnotherSession) {
  sleeping_->SetGate(kOpen);
  sink_.forgets = true;
  const std::uint64_t first = Ask(sink_);
  Ask(other_);
  AnswerUnseen(first);
  sleeping_->SetGate(kClosed);
  EXPECT_EQ(demands_, 0);
  net::RunUntil(loop_, [&] { return demands_ == 1; });
  EXPECT_EQ(crossings_, 1);
  EXPECT_EQ(sink_.frames.size(), 1U);
}

TEST_F(SleepingLinkTest, ARequestThatCrossedTheEndOfTheSessionNeedsAnotherOne) {
  sleeping_->SetGate(kOpen);
  Ask(sink_);
  sleeping_->SetGate(kClosed);
  EXPECT_EQ(demands_, 1);
  EXPECT_EQ(crossings_, 1);
}

TEST_F(SleepingLinkTest, ARequestThatWaitsHasNotCrossedTheEndOfASession) {
  Ask(sink_);
  sleeping_->SetGate({true, TimePoint::min() + Duration(1)});
  sleeping_->SetGate(kClosed);
  EXPECT_EQ(demands_, 1);
  EXPECT_EQ(crossings_, 0);
}

TEST_F(SleepingLinkTest, ASuspectThatFallsAsleepOrIsReplacedIsNoneAnyMore) {
  sleeping_->SetGate(kOpen);
  sleeping_->Suspect();
  ASSERT_TRUE(sleeping_->suspect());
  sleeping_->SetGate(kClosed);
  EXPECT_FALSE(sleeping_->suspect()) << "nothing would ever wake it";
  sleeping_->Suspect();
  sleeping_->SetInstance(Epoch(), InstanceId(), {});
  EXPECT_FALSE(sleeping_->suspect());
}

TEST_F(SleepingLinkTest, ANodeThatDoesNotWakeLosesWhatWaits) {
  const std::uint64_t request = Ask(sink_);
  sleeping_->FailRequests();
  EXPECT_THAT(sink_.lost, ElementsAre(request));
  Ask(other_);
  EXPECT_EQ(demands_, 2) << "the next one asks again";
}

TEST_F(SleepingLinkTest, AnotherInstanceLosesWhatIsBoundToTheFormerOneAndKeepsTheRest) {
  const std::uint64_t bound = sleeping_->Register(&sink_);
  sleeping_->Register(&other_, /*bound=*/false);
  sleeping_->SetInstance(Epoch(2), InstanceId(6), node_->address());
  EXPECT_THAT(sink_.lost, ElementsAre(bound));
  EXPECT_THAT(other_.lost, IsEmpty());
}

}  // namespace
}  // namespace infinicache::pool
