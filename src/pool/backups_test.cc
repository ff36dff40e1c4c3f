#include "pool/backups.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "net/testing.h"

namespace infinicache::pool {
namespace {

using std::chrono::milliseconds;

class FakeHost final : public Backups::Host {
 public:
  void WantPrimary(NodeId node) override { calls.push_back("want " + Name(node)); }
  void PrimaryWanted(NodeId node) override { calls.push_back("wanted " + Name(node)); }
  bool WantPeer(NodeId node) override {
    calls.push_back("peer " + Name(node));
    return peer_possible;
  }
  bool Command(NodeId node, wire::SyncCommand command) override {
    calls.push_back((command.is_source ? "source " : "target ") + Name(node));
    return true;
  }

  std::optional<Duration> PeerIdleAtMost() const override { return peer_idle_at_most; }
  void RoundOver(NodeId) override { ++rounds_over; }

  std::vector<std::string> calls;
  int rounds_over = 0;
  bool peer_possible = true;
  std::optional<Duration> peer_idle_at_most;

 private:
  static std::string Name(NodeId node) { return std::to_string(node.value()); }
};

class BackupsTest : public testing::Test {
 protected:
  ~BackupsTest() override {
    backups_.reset();
    net::RunToEnd(loop_);
  }

  void Make(bool by_relay, std::size_t at_once = 4,
            Duration round_at_most = std::chrono::hours(1)) {
    BackupOptions options;
    options.interval.adaptive = false;
    options.interval.interval = milliseconds(1);
    options.at_once = at_once;
    options.round_at_most = round_at_most;
    backups_.emplace(loop_, host_, nodes_, by_relay, options, 1);
    backups_->Start();
  }
  void Change(std::size_t node) {
    nodes_[node].epoch = 1;
    nodes_[node].chunks = 1;
    ++nodes_[node].changes;
  }
  void AwaitCalls(std::size_t count) {
    net::RunUntil(loop_, [&] { return host_.calls.size() >= count; });
  }
  // All that happens once it has begun.
  void RunRound(NodeId node) {
    backups_->OnPrimaryReady(node);
    backups_->OnPeerReady(node);
    backups_->OnReport(node, {});
  }
  // Several looks of the schedule.
  void Pass() { net::RunTask(loop_, loop_.Sleep(milliseconds(150))); }
  std::uint64_t Ended(BackupResult result) const {
    return Read(backups_->stats().rounds[static_cast<std::size_t>(result)]);
  }

  net::EventLoop loop_{"test"};
  FakeHost host_;
  std::vector<NodeShared> nodes_ = std::vector<NodeShared>(8);
  std::optional<Backups> backups_;
};

TEST_F(BackupsTest, ByTheRelayThePrimaryIsCommandedBeforeThePeerIsWoken) {
  Make(true);
  Change(2);
  AwaitCalls(1);
  backups_->OnPrimaryReady(NodeId(2));
  backups_->OnPeerReady(NodeId(2));
  EXPECT_EQ(host_.calls,
            (std::vector<std::string>{"want 2", "wanted 2", "source 2", "peer 2", "target 2"}));
  EXPECT_EQ(backups_->running(), 1U);
  EXPECT_EQ(backups_->dirty(), 1U);
  backups_->OnReport(NodeId(2), {SessionId(1), {}, {3, 300, 400, 1, 0, 0}});
  EXPECT_EQ(Ended(BackupResult::kDone), 1U);
  EXPECT_EQ(host_.rounds_over, 1);
  EXPECT_EQ(Read(backups_->stats().traffic_bytes), 400U);
  EXPECT_EQ(backups_->dirty(), 0U);
}

TEST_F(BackupsTest, DirectlyThePrimaryIsCommandedWhenThePeerHasAnAddress) {
  Make(false);
  Change(2);
  AwaitCalls(1);
  backups_->OnPrimaryReady(NodeId(2));
  backups_->OnPeerReady(NodeId(2));
  backups_->OnPrimaryReady(NodeId(2));
  EXPECT_EQ(host_.calls, (std::vector<std::string>{"want 2", "wanted 2", "peer 2", "target 2",
                                                   "want 2", "wanted 2", "source 2"}));
}

TEST_F(BackupsTest, CleanAndEmptyNodesAreLeftAlone) {
  Make(true);
  nodes_[1].changes = 5;  // all of it was deleted again
  Pass();
  EXPECT_TRUE(host_.calls.empty());
}

TEST_F(BackupsTest, ThePeerOfANodeThatDoesNotChangeIsWokenAsOftenAsItNeeds) {
  Make(true);
  Change(1);
  AwaitCalls(1);
  RunRound(NodeId(1));
  EXPECT_FALSE(backups_->IsBehind(NodeId(1)));
  Pass();
  EXPECT_EQ(host_.calls.size(), 5U) << "it is left alone without warm-ups";
  host_.peer_idle_at_most = milliseconds(1);
  AwaitCalls(6);
  RunRound(NodeId(1));
  EXPECT_EQ(Ended(BackupResult::kDone), 2U);
  EXPECT_EQ(Read(backups_->stats().warm_ups), 1U);
}

TEST_F(BackupsTest, WhatIsChangedInARoundIsOfTheNext) {
  Make(true);
  Change(0);
  AwaitCalls(1);
  Change(0);
  backups_->OnPrimaryReady(NodeId(0));
  backups_->OnPeerReady(NodeId(0));
  backups_->OnReport(NodeId(0), {});
  EXPECT_EQ(backups_->dirty(), 1U);
  AwaitCalls(6);
  EXPECT_EQ(host_.calls[5], "want 0");
}

TEST_F(BackupsTest, SoManyRoundsRunAtOnceAndNoMore) {
  Make(true, 2);
  for (std::size_t i = 0; i < 8; ++i) Change(i);
  AwaitCalls(2);
  Pass();
  EXPECT_EQ(backups_->running(), 2U);
  ASSERT_EQ(host_.calls.size(), 2U);
  const std::string first = host_.calls[0].substr(std::string("want ").size());
  backups_->OnPrimaryFailed(NodeId(static_cast<std::uint32_t>(std::stoul(first))));
  EXPECT_EQ(Ended(BackupResult::kNoPrimary), 1U);
  EXPECT_EQ(host_.calls[2], "wanted " + first);
  AwaitCalls(4);
  EXPECT_EQ(backups_->running(), 2U);
}

TEST_F(BackupsTest, TheEndOfASessionEndsTheRound) {
  Make(true);
  Change(0);
  AwaitCalls(1);
  backups_->OnPrimaryReady(NodeId(0));
  backups_->OnPrimaryEnded(NodeId(0));
  EXPECT_EQ(host_.calls.back(), "want 0") << "beside the peer, to be the one that was used last";
  backups_->OnPrimaryReady(NodeId(0));
  EXPECT_EQ(host_.calls.back(), "source 0");
  EXPECT_EQ(Ended(BackupResult::kInterrupted), 1U);
  EXPECT_EQ(backups_->dirty(), 1U);
  backups_->OnReport(NodeId(0), {});  // late: nothing is running
  EXPECT_EQ(backups_->dirty(), 1U);
}

TEST_F(BackupsTest, APeerThatDoesNotComeEndsTheRound) {
  Make(true);
  host_.peer_possible = false;
  Change(0);
  AwaitCalls(1);
  backups_->OnPrimaryReady(NodeId(0));
  EXPECT_EQ(Ended(BackupResult::kNoPeer), 1U);
}

TEST_F(BackupsTest, ARoundThatHangsIsGivenUp) {
  Make(true, 4, milliseconds(20));
  Change(0);
  net::RunUntil(loop_, [&] { return Ended(BackupResult::kTooLate) == 1; });
}

TEST_F(BackupsTest, AnInstanceThatTookOverIsBackedUpAnew) {
  Make(true);
  Change(0);
  AwaitCalls(1);
  backups_->OnPrimaryReady(NodeId(0));
  backups_->OnPeerReady(NodeId(0));
  backups_->OnReport(NodeId(0), {});
  EXPECT_EQ(backups_->dirty(), 0U);
  backups_->OnPrimaryChanged(NodeId(0));
  EXPECT_EQ(backups_->dirty(), 1U);
}

}  // namespace
}  // namespace infinicache::pool
