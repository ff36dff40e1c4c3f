#include "platform/local/guarded_processes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <memory>

#include "platform/local/local_platform_for_test.h"

namespace infinicache::platform {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

// Survival times: nobody waits for the end of the long one.
constexpr Duration kLong = net::kTestPatience;
constexpr Duration kShort = std::chrono::milliseconds(1);

GuardedProcesses::Options GuardOptions(Duration survival = kLong) {
  const auto* const test = testing::UnitTest::GetInstance()->current_test_info();
  GuardedProcesses::Options options;
  options.program = NodeProgram();
  options.name = fmt::format("infinicache-test/{}/{}", getpid(), test->name());
  options.survival = survival;
  options.shape = {{"nodes", "1"}, {"code", "1+0"}};
  options.secret = kSecret;
  return options;
}

std::vector<std::string> NodeArguments() {
  return {NodeProgram(), "--node=3", "--memory=4MiB", "--log-level=off"};
}

// A server's end of its guard: dropping it is a crash.
std::unique_ptr<GuardedProcesses> Server(const GuardedProcesses::Options& options) {
  return std::make_unique<GuardedProcesses>(options);
}

pid_t StartNode(GuardedProcesses& server) {
  auto node = server.Start(NodeArguments(), -1);
  CHECK(node, "{}", node.error().message);
  // Its ready line says that it watches its parent by now.
  pollfd ready{node->output.get(), POLLIN, 0};
  CHECK(poll(&ready, 1, -1) == 1);
  return node->pid;
}

void EndAll(GuardedProcesses& server) {
  server.BeginStop();
  server.EndStop();
}

class GuardTest : public testing::Test {
 protected:
  // Guards are our children: none is left after a test.
  ~GuardTest() override {
    while (waitpid(-1, nullptr, 0) > 0) {
    }
  }
};

TEST_F(GuardTest, TheNextServerHasTheNodesOfOneThatCrashed) {
  auto crashed = Server(GuardOptions());
  const pid_t first = StartNode(*crashed);
  const pid_t second = StartNode(*crashed);
  crashed->Describe(first, "the first");
  crashed->Describe(first, "the first, later");
  crashed.reset();

  auto options = GuardOptions();
  options.secret = "another";
  auto next = Server(options);
  auto survivors = next->TakeOver();
  ASSERT_THAT(survivors, SizeIs(2));
  EXPECT_EQ(survivors[0].process.pid, first);
  EXPECT_EQ(survivors[0].text, "the first, later");
  EXPECT_EQ(survivors[1].process.pid, second);
  EXPECT_EQ(survivors[1].text, "");
  EXPECT_EQ(next->secret(), kSecret);
  EXPECT_EQ(next->Reap(first), std::nullopt) << "it lives";
  std::array<char, 256> line{};
  EXPECT_GT(read(survivors[0].process.output.get(), line.data(), line.size()), 0)
      << "its output is ours now";
  EndAll(*next);
  EXPECT_FALSE(Exists(first));
  EXPECT_FALSE(Exists(second));
}

TEST_F(GuardTest, WhatNodesShareIsHandedOverToo) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]);
  UniqueFd shared(ends[1]);
  auto crashed = Server(GuardOptions());
  ASSERT_TRUE(crashed->Start(NodeArguments(), shared.get()));
  shared.Reset();
  crashed.reset();

  auto next = Server(GuardOptions());
  const auto survivors = next->TakeOver();
  ASSERT_THAT(survivors, SizeIs(1));
  EXPECT_EQ(write(survivors[0].process.inherited.get(), "!", 1), 1);
  char byte = 0;
  EXPECT_EQ(read(read_end.get(), &byte, 1), 1);
  EXPECT_EQ(byte, '!') << "it is the same pipe";
  EndAll(*next);
}

TEST_F(GuardTest, ItSaysHowAProcessEndedAndForgetsIt) {
  auto server = Server(GuardOptions());
  const pid_t node = StartNode(*server);
  ASSERT_EQ(kill(node, SIGKILL), 0);
  ASSERT_TRUE(EndsSoon(node));
  EXPECT_TRUE(Exists(node)) << "until it is reaped, nobody else has its number";
  EXPECT_EQ(server->Reap(node), "killed by signal 9");
  EXPECT_FALSE(Exists(node));
  EndAll(*server);
}

TEST_F(GuardTest, NodesEndWhenNobodyCameForThem) {
  auto crashed = Server(GuardOptions(kShort));
  const pid_t running = StartNode(*crashed);
  const pid_t stopped = StartNode(*crashed);
  const pid_t guard = crashed->guard_pid();
  ASSERT_EQ(kill(stopped, SIGSTOP), 0);
  crashed.reset();
  EXPECT_TRUE(EndsSoon(running));
  EXPECT_TRUE(EndsSoon(stopped));
  EXPECT_TRUE(EndsSoon(guard));
  EXPECT_THAT(Server(GuardOptions())->TakeOver(), IsEmpty());
}

TEST_F(GuardTest, AServerThatStopsIsNotOutlivedEvenIfItCrashesThen) {
  auto server = Server(GuardOptions());
  const pid_t node = StartNode(*server);
  const pid_t guard = server->guard_pid();
  server->BeginStop();
  server.reset();
  EXPECT_TRUE(EndsSoon(node));
  EXPECT_TRUE(EndsSoon(guard));
}

TEST_F(GuardTest, NodesOfAnotherShapeAreEnded) {
  auto crashed = Server(GuardOptions());
  const pid_t node = StartNode(*crashed);
  ASSERT_EQ(kill(node, SIGSTOP), 0);
  crashed.reset();
  auto options = GuardOptions();
  options.shape["nodes"] = "2";
  auto next = Server(options);
  EXPECT_THAT(next->TakeOver(), IsEmpty());
  EXPECT_FALSE(Exists(node));
  EXPECT_GT(StartNode(*next), 0) << "it has a guard of its own, of the same name";
  EndAll(*next);
}

TEST_F(GuardTest, AServerWhoseNodesShallNotOutliveItEndsThoseThatDid) {
  auto crashed = Server(GuardOptions());
  const pid_t node = StartNode(*crashed);
  crashed.reset();
  EXPECT_THAT(Server(GuardOptions(Duration(0)))->TakeOver(), IsEmpty());
  EXPECT_FALSE(Exists(node));
}

TEST_F(GuardTest, WhileAServerLivesNobodyGetsItsNodes) {
  auto server = Server(GuardOptions());
  const pid_t node = StartNode(*server);
  EXPECT_THAT(Server(GuardOptions())->TakeOver(), IsEmpty());
  auto options = GuardOptions();
  options.shape["nodes"] = "2";
  EXPECT_THAT(Server(options)->TakeOver(), IsEmpty());
  EXPECT_EQ(server->Reap(node), std::nullopt) << "it lives, and its guard answers";
  EndAll(*server);
}

TEST_F(GuardTest, AServerWithoutTheNameHasNodesThatEndWithIt) {
  auto first = Server(GuardOptions());
  StartNode(*first);
  auto second = Server(GuardOptions());
  const pid_t node = StartNode(*second);
  second.reset();
  EXPECT_TRUE(EndsSoon(node));
  EndAll(*first);
}

TEST_F(GuardTest, NodesEndWithTheirGuardAndTheNextOneHasANewGuard) {
  auto server = Server(GuardOptions());
  const pid_t running = StartNode(*server);
  const pid_t stopped = StartNode(*server);
  ASSERT_EQ(kill(stopped, SIGSTOP), 0);
  ASSERT_EQ(kill(server->guard_pid(), SIGKILL), 0);
  EXPECT_TRUE(EndsSoon(running));
  EXPECT_TRUE(EndsSoon(stopped));
  EXPECT_TRUE(server->Reap(running).has_value());
  EXPECT_TRUE(server->Reap(stopped).has_value());
  EXPECT_EQ(server->guard_pid(), 0);
  const pid_t node = StartNode(*server);
  EXPECT_GT(server->guard_pid(), 0);
  EndAll(*server);
  EXPECT_FALSE(Exists(node));
}

TEST_F(GuardTest, ASignalIsTheServersAsLongAsThereIsOne) {
  auto server = Server(GuardOptions());
  const pid_t node = StartNode(*server);
  const pid_t guard = server->guard_pid();
  for (const int signal : {SIGINT, SIGHUP, SIGTERM}) ASSERT_EQ(kill(guard, signal), 0);
  EXPECT_EQ(server->Reap(node), std::nullopt);
  server.reset();  // crashes
  ASSERT_EQ(kill(guard, SIGTERM), 0);
  EXPECT_TRUE(EndsSoon(node));
  EXPECT_TRUE(EndsSoon(guard));
}

TEST_F(GuardTest, WhatCannotBeStartedIsNamed) {
  auto server = Server(GuardOptions());
  const auto node = server->Start({"/nonexistent/node"}, -1);
  ASSERT_FALSE(node);
  EXPECT_THAT(node.error().message, testing::HasSubstr("/nonexistent/node"));
  EndAll(*server);
  auto options = GuardOptions();
  options.program = "/nonexistent/guard";
  const auto unguarded = Server(options)->Start(NodeArguments(), -1);
  ASSERT_FALSE(unguarded);
  EXPECT_THAT(unguarded.error().message, testing::HasSubstr("/nonexistent/guard"));
}

// --- With the platform --------------------------------------------------------------------------

class AdoptionTest : public LocalPlatformTest {
 protected:
  void Make(const LocalOptions& options, std::unique_ptr<ProcessHost> host) {
    platform_.emplace(loop_, options, std::move(host));
    platform_->set_observer(&observer_);
  }

  // What a server of its own process, which has crashed since, had of node 3.
  Instance CrashedServersInstance(const LocalOptions& options, bool with_peer = false) {
    std::array<int, 2> ends{};
    CHECK(pipe(ends.data()) == 0);
    const auto guard = GuardOptions();
    const pid_t server = fork();
    CHECK(server >= 0);
    if (server == 0) {
      Make(options, Server(guard));
      const Instance instance = StartOne();
      platform_->NotePrimary(instance.node, instance.id);
      if (with_peer) StartOne();
      const std::pair<std::uint64_t, int> report = {instance.id.value(), instance.pid};
      CHECK(write(ends[1], &report, sizeof(report)) == sizeof(report));
      for (;;) pause();
    }
    close(ends[1]);
    std::pair<std::uint64_t, int> report;
    CHECK(read(ends[0], &report, sizeof(report)) == sizeof(report));
    close(ends[0]);
    kill(server, SIGKILL);
    waitpid(server, nullptr, 0);
    return {NodeId(3), InstanceId(report.first), {}, report.second};
  }

  std::vector<Instance> Adopt(const LocalOptions& options) {
    auto host = Server(GuardOptions());
    auto survivors = host->TakeOver();
    Make(options, std::move(host));
    return platform_->Adopt(std::move(survivors));
  }
};

TEST_F(AdoptionTest, AnAdoptedInstanceIsInvokedAgainAndItsEndIsTold) {
  const LocalOptions options = Options(NodeProgram());
  const Instance before = CrashedServersInstance(options);
  const auto adopted = Adopt(options);
  ASSERT_THAT(adopted, SizeIs(1));
  EXPECT_EQ(adopted[0].node, before.node);
  EXPECT_EQ(adopted[0].id, before.id);
  EXPECT_EQ(adopted[0].pid, before.pid);
  ASSERT_THAT(observer_.ready, SizeIs(1));
  EXPECT_TRUE(platform_->Has(before));
  EXPECT_EQ(platform_->Count().idle, 1U);
  Invoke(NodeId(3));
  EXPECT_EQ(platform_->Count().busy, 1U) << "no other instance is started";
  EXPECT_TRUE(observer_.failed.empty());

  ASSERT_EQ(kill(before.pid, SIGKILL), 0);
  net::RunUntil(loop_, [&] { return !observer_.ended.empty(); });
  EXPECT_EQ(observer_.ended[0].first.id, before.id);
  EXPECT_EQ(observer_.ended[0].second.reason, "killed by signal 9");
  EXPECT_FALSE(platform_->Has(before));
}

TEST_F(AdoptionTest, OfTwoInstancesOfANodeThePrimaryIsTakenThoughThePeerIsLater) {
  const LocalOptions options = Options(NodeProgram());
  const Instance primary = CrashedServersInstance(options, true);
  const auto adopted = Adopt(options);
  ASSERT_THAT(adopted, SizeIs(1));
  EXPECT_EQ(adopted[0].id, primary.id);
  EXPECT_EQ(platform_->Count().idle, 1U);
}

TEST_F(AdoptionTest, AnInstanceThatDoesNotAnswerCanBeAbandoned) {
  const LocalOptions options = Options(NodeProgram());
  const Instance before = CrashedServersInstance(options);
  ASSERT_THAT(Adopt(options), SizeIs(1));
  platform_->Abandon(before);
  net::RunUntil(loop_, [&] { return !observer_.ended.empty(); });
  EXPECT_FALSE(Exists(before.pid));
}

TEST_F(AdoptionTest, AnInstanceThatFreezesIsFrozenUntilItIsInvoked) {
  LocalOptions options = Options(NodeProgram());
  options.traits.standing = false;
  options.traits.freezes = true;
  options.traits.session_max = std::chrono::minutes(1);
  CrashedServersInstance(options);
  ASSERT_THAT(Adopt(options), SizeIs(1));
  EXPECT_EQ(platform_->Count().frozen, 1U);
  const SessionId session = Invoke(NodeId(3));
  net::RunUntil(loop_, [&] {
    return !observer_.sessions.empty() && observer_.sessions.back().first == session;
  });
  EXPECT_FALSE(observer_.sessions.back().second.fault);
  EXPECT_FALSE(observer_.sessions.back().second.cold);
}

}  // namespace
}  // namespace infinicache::platform
