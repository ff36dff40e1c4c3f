// The life of an instance: sessions, freezing, second instances, reclaims.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>

#include "platform/local/local_platform_for_test.h"

namespace infinicache::platform {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

// As the process's state in /proc: R, S, T (stopped), …
char ProcessState(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  return text[text.rfind(')') + 2];
}

LocalOptions FunctionOptions() {
  LocalOptions options = Options(NodeProgram());
  options.traits.standing = false;
  options.traits.freezes = true;
  options.traits.billing_quantum = milliseconds(1);
  options.traits.session_max = seconds(60);
  return options;
}

TEST_F(LocalPlatformTest, AnIdleInstanceIsFrozenAndThawedByTheNextInvocation) {
  Make(FunctionOptions());
  const Instance instance = StartOne();
  net::RunUntil(loop_, [&] { return observer_.sessions.size() == 1; });
  EXPECT_FALSE(observer_.sessions[0].second.fault);
  EXPECT_TRUE(observer_.sessions[0].second.cold);
  net::RunUntil(loop_, [&] { return ProcessState(instance.pid) == 'T'; });
  EXPECT_EQ(platform_->Count().frozen, 1U);

  const SessionId session = Invoke(instance.node);
  EXPECT_EQ(platform_->Count().busy, 1U);
  net::RunUntil(loop_, [&] { return observer_.sessions.size() == 2; });
  EXPECT_EQ(observer_.sessions[1].first, session);
  EXPECT_FALSE(observer_.sessions[1].second.cold);
  EXPECT_EQ(observer_.sessions[1].second.init, Duration(0));
  EXPECT_EQ(observer_.ready.size(), 1U) << "the same instance";
}

TEST_F(LocalPlatformTest, AnInvocationOfABusyNodeStartsASecondInstance) {
  LocalOptions options = FunctionOptions();
  options.traits.standing = true;  // its sessions go on
  Make(options);
  const Instance first = StartOne();
  const Instance second = StartOne();
  EXPECT_EQ(first.node, second.node);
  EXPECT_NE(first.id, second.id);
  EXPECT_NE(first.pid, second.pid);
  EXPECT_EQ(platform_->Count().busy, 2U);
  ASSERT_TRUE(platform_->Reclaim(first.node));
  net::RunUntil(loop_, [&] { return observer_.ended.size() == 1; });
  EXPECT_EQ(observer_.ended[0].first.id, first.id) << "the older one";
}

TEST_F(LocalPlatformTest, ASessionBeyondTheLongestIsEndedWithItsInstance) {
  LocalOptions options = FunctionOptions();
  options.traits.standing = true;  // a node that does not end its session by itself
  options.traits.session_max = milliseconds(300);
  Make(options);
  const Instance instance = StartOne();
  net::RunUntil(loop_, [&] { return observer_.ended.size() == 1; });
  ASSERT_EQ(observer_.sessions.size(), 1U);
  ASSERT_TRUE(observer_.sessions[0].second.fault);
  EXPECT_EQ(observer_.sessions[0].second.fault->code, ErrorCode::kDeadlineExceeded);
  EXPECT_GE(observer_.sessions[0].second.duration, milliseconds(300));
  EXPECT_FALSE(Exists(instance.pid));
}

TEST_F(LocalPlatformTest, AFrozenInstanceThatIsReclaimedIsSeenOnlyByTheNextOne) {
  LocalOptions options = FunctionOptions();
  options.traits.tells_ends = false;
  Make(options);
  const Instance first = StartOne();
  net::RunUntil(loop_, [&] { return platform_->Count().frozen == 1; });
  ASSERT_TRUE(platform_->Reclaim(first.node));
  EXPECT_TRUE(EndsSoon(first.pid));
  net::RunUntil(loop_, [&] { return platform_->Count().frozen == 0; });
  EXPECT_TRUE(observer_.ended.empty());
  EXPECT_NE(StartOne().id, first.id);
}

TEST_F(LocalPlatformTest, AnInstanceThatDrainsIsNotInvokedAnyMore) {
  LocalOptions options = FunctionOptions();
  options.traits.freezes = false;
  options.reclaim_drain = seconds(60);
  Make(options);
  const Instance old = StartOne();
  net::RunUntil(loop_, [&] { return platform_->Count().idle == 1; });
  ASSERT_TRUE(platform_->Reclaim(old.node));
  const Instance fresh = StartOne();
  EXPECT_NE(fresh.id, old.id);
  EXPECT_TRUE(Exists(old.pid)) << "both live for a while";
}

TEST_F(LocalPlatformTest, NodesOfAHostAreReclaimedTogether) {
  LocalOptions options = Options(NodeProgram());
  options.nodes_per_host = 2;
  options.reclaim.kind = policy::ReclaimModel::Kind::kReplay;
  options.reclaim.replay = {{milliseconds(500), NodeId(3)}};
  Make(options);
  for (std::uint32_t i = 0; i < 5; ++i) Invoke(NodeId(i));
  net::RunUntil(loop_, [&] { return observer_.ended.size() == 2; });
  std::set<NodeId> ended;
  for (const auto& [instance, end] : observer_.ended) ended.insert(instance.node);
  EXPECT_EQ(ended, (std::set<NodeId>{NodeId(2), NodeId(3)}));
}

TEST_F(LocalPlatformTest, TooManyInstancesOfANodeAreRefused) {
  LocalOptions options = Options(NodeProgram());
  Make(options);
  for (int i = 0; i < 8; ++i) StartOne();
  Invoke(NodeId(3));
  net::RunUntil(loop_, [&] { return !observer_.failed.empty(); });
  EXPECT_THAT(observer_.failed[0].second.message, HasSubstr("more are not started"));
}

}  // namespace
}  // namespace infinicache::platform
