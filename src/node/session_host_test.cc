#include "node/session_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "net/testing.h"

namespace infinicache::node {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using wire::FrameType;
using Opening = policy::SessionLifetime::Opening;

constexpr SessionId kSession{77};

// Keeps what is sent.
class ControlForTest final : public SessionHost::Control {
 public:
  void SendControl(const wire::FrameHeader& header, std::string) override {
    sent.push_back(header.type);
  }
  std::vector<FrameType> sent;
};

class SessionHostTest : public testing::Test {
 protected:
  // An invocation is worth 10 ms awake.
  SessionHostTest()
      : host_(
            loop_, InstanceId(5),
            {.standing = false,
             .lifetime = {.idle_cost_per_second = 1,
                          .invocation_cost = 0.01,
                          .round_trip = {.initial = milliseconds(1)}},
             .on_pong = [this] { sent_at_pong_.push_back(control_.sent.size()); }},
            [] { return wire::NodeFill{}; },
            [this](SessionId session, wire::ByeTotals) { ended_.push_back(session); }) {}

  void Pass(Duration duration) { net::RunTask(loop_, loop_.Sleep(duration)); }
  void AwaitEnd() {
    net::RunUntil(loop_, [this] { return !ended_.empty(); });
  }

  net::EventLoop loop_{"test"};
  ControlForTest control_;
  std::vector<std::size_t> sent_at_pong_;
  std::vector<SessionId> ended_;
  SessionHost host_;
};

TEST_F(SessionHostTest, ASessionIsPongAndByeAndAcceptsInBetween) {
  host_.SetControl(&control_);
  host_.Open(kSession, Opening::kRequest);
  EXPECT_FALSE(host_.Accepts());
  host_.Announce();
  EXPECT_TRUE(host_.Accepts());
  AwaitEnd();
  EXPECT_THAT(control_.sent, ElementsAre(FrameType::kPong, FrameType::kBye));
  EXPECT_THAT(ended_, ElementsAre(kSession));
  EXPECT_FALSE(host_.Accepts());
}

TEST_F(SessionHostTest, TellsOfEachPongWhenItIsSentAndNothingElse) {
  host_.Open(kSession, Opening::kRequest);
  host_.Announce();
  EXPECT_THAT(sent_at_pong_, IsEmpty()) << "there is no link yet";
  host_.SetControl(&control_);
  EXPECT_THAT(sent_at_pong_, ElementsAre(1U));
  host_.OnPing(kSession);
  EXPECT_THAT(sent_at_pong_, ElementsAre(1U, 2U));
  AwaitEnd();
}

TEST_F(SessionHostTest, ItsTimeRunsFromItsPongWhateverTheLinksTook) {
  host_.SetControl(&control_);
  host_.Open(kSession, Opening::kRequest);
  Pass(milliseconds(30));
  EXPECT_THAT(ended_, IsEmpty());
  host_.Announce();
  EXPECT_TRUE(host_.Accepts());
  EXPECT_THAT(control_.sent, ElementsAre(FrameType::kPong));
  AwaitEnd();
}

TEST_F(SessionHostTest, APongThatHasNoControlLinkYetWaitsForIt) {
  host_.Open(kSession, Opening::kRequest);
  host_.Announce();
  EXPECT_FALSE(host_.Accepts());
  Pass(milliseconds(30));
  host_.SetControl(&control_);
  EXPECT_THAT(control_.sent, ElementsAre(FrameType::kPong));
  EXPECT_TRUE(host_.Accepts());
  AwaitEnd();
}

TEST_F(SessionHostTest, AWarmUpIsAnsweredAlsoByAnInstanceThatHasNoLinkYet) {
  host_.Open(kSession, Opening::kWarmUp);
  host_.Announce();
  Pass(milliseconds(10));
  EXPECT_THAT(ended_, IsEmpty());
  host_.SetControl(&control_);
  AwaitEnd();
  EXPECT_THAT(control_.sent, ElementsAre(FrameType::kPong, FrameType::kBye));
}

TEST_F(SessionHostTest, ASessionThatFollowsAnUnannouncedOneHasItsOwnTime) {
  host_.SetControl(&control_);
  host_.Open(kSession, Opening::kWarmUp);
  host_.Open(SessionId(78), Opening::kRequest);
  Pass(milliseconds(30));
  EXPECT_THAT(ended_, IsEmpty());
  host_.Announce();
  AwaitEnd();
  EXPECT_THAT(ended_, ElementsAre(SessionId(78)));
}

TEST_F(SessionHostTest, WhatIsLeftOfAnEarlierSessionDoesNotEndTheNextBeforeItsPong) {
  host_.SetControl(&control_);
  host_.Open(kSession, Opening::kRequest);
  host_.Announce();
  host_.Begin();
  host_.Open(SessionId(78), Opening::kRequest);
  host_.Finish();
  Pass(milliseconds(30));
  EXPECT_THAT(ended_, IsEmpty());
}

}  // namespace
}  // namespace infinicache::node
