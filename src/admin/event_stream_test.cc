#include "admin/event_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "net/testing.h"

namespace infinicache::admin {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

constexpr Duration kLong = std::chrono::hours(1);

net::HttpRequest Request(std::map<std::string, std::string> headers,
                         std::map<std::string, std::string> query = {}) {
  return {.method = "GET",
          .target = {"/api/v1/events", std::move(query)},
          .headers = std::move(headers)};
}

// What was written; closed by the test, or when it refuses to take more.
class FakeStream final : public net::HttpStream {
 public:
  net::Task<bool> Write(std::string_view bytes) override {
    writes.emplace_back(bytes);
    co_return open;
  }
  bool IsOpen() override { return open; }

  bool open = true;
  std::vector<std::string> writes;
};

class EventStreamsTest : public testing::Test {
 protected:
  void AddEvent(const std::string& detail) {
    log_.Add(5, pool::EventKind::kInstanceStarted, NodeId(3), InstanceId(0xAB), detail);
  }

  net::EventLoop loop_{"test"};
  pool::EventLog log_;
  FakeStream stream_;
};

TEST(WantsEventStream, ByTheAcceptedTypeOrByTheQuery) {
  EXPECT_TRUE(WantsEventStream(Request({{"accept", "text/event-stream"}})));
  EXPECT_TRUE(WantsEventStream(Request({{"accept", "text/html, text/event-stream;q=0.9"}})));
  EXPECT_TRUE(WantsEventStream(Request({}, {{"stream", "1"}})));
  EXPECT_FALSE(WantsEventStream(Request({{"accept", "*/*"}}, {{"after", "1"}})));
  EXPECT_FALSE(WantsEventStream(Request({}, {{"stream", "0"}})));
}

TEST(StreamBegin, TheNumberThatTheClientSawLastGoesBeforeTheQuery) {
  EXPECT_EQ(StreamBegin(Request({}), 9), 0U);
  EXPECT_EQ(StreamBegin(Request({}, {{"after", "4"}}), 9), 4U);
  EXPECT_EQ(StreamBegin(Request({{"last-event-id", "7"}}, {{"after", "4"}}), 9), 7U);
  EXPECT_EQ(StreamBegin(Request({{"last-event-id", "9"}}), 9), 9U);
}

TEST(StreamBegin, ANumberOfAnEarlierServerMeansFromTheStart) {
  EXPECT_EQ(StreamBegin(Request({{"last-event-id", "10"}}), 9), 0U);
}

TEST(StreamBegin, NamesWhatIsNoNumber) {
  EXPECT_THAT(StreamBegin(Request({{"last-event-id", "x"}}), 9).error().message,
              HasSubstr("Last-Event-ID"));
  EXPECT_THAT(StreamBegin(Request({}, {{"after", "-1"}}), 9).error().message, HasSubstr("after"));
}

TEST_F(EventStreamsTest, AnEventIsOneFrameWhateverItsDetailHolds) {
  AddEvent("two\nlines");
  EXPECT_EQ(EventFrames(log_.After(0, 9)),
            "id: 1\nevent: instance_started\n"
            R"(data: {"id":1,"at_ms":5,"kind":"instance_started","node":3,)"
            R"("instance":"00000000000000ab","detail":"two\nlines"})"
            "\n\n");
}

TEST_F(EventStreamsTest, SendsWhatFollowsTheNumberThenWhatHappens) {
  for (const char* detail : {"a", "b"}) AddEvent(detail);
  EventStreams streams(loop_, log_, kLong);
  net::Started<std::monostate> run(loop_, net::WithValue(streams.Run(stream_, 1)));
  net::RunUntil(loop_, [&] { return stream_.writes.size() == 2; });
  EXPECT_EQ(stream_.writes[0], "retry: 2000\n\n");
  EXPECT_EQ(stream_.writes[1], EventFrames(log_.After(1, 9)));
  AddEvent("c");
  net::RunUntil(loop_, [&] { return stream_.writes.size() == 3; });
  EXPECT_EQ(stream_.writes[2], EventFrames(log_.After(2, 9)));
  stream_.open = false;
  run.Get();
  EXPECT_EQ(stream_.writes.size(), 3U);
}

TEST_F(EventStreamsTest, ManyEventsGoOutInPortions) {
  const std::size_t events = EventStreams::kPortion + 2;
  for (std::size_t i = 0; i < events; ++i) AddEvent("x");
  EventStreams streams(loop_, log_, kLong);
  net::Started<std::monostate> run(loop_, net::WithValue(streams.Run(stream_, 0)));
  net::RunUntil(loop_, [&] { return stream_.writes.size() == 3; });
  EXPECT_EQ(stream_.writes[1] + stream_.writes[2], EventFrames(log_.After(0, events)));
  EXPECT_EQ(stream_.writes[2], EventFrames(log_.After(events - 2, 2)));
  stream_.open = false;
  run.Get();
}

TEST_F(EventStreamsTest, ACommentComesWhenNothingElseDoes) {
  EventStreams streams(loop_, log_, std::chrono::milliseconds(1));
  net::Started<std::monostate> run(loop_, net::WithValue(streams.Run(stream_, 0)));
  net::RunUntil(loop_, [&] { return stream_.writes.size() == 3; });
  EXPECT_THAT(stream_.writes,
              ElementsAre("retry: 2000\n\n", ": still here\n\n", ": still here\n\n"));
  stream_.open = false;
  run.Get();
}

TEST_F(EventStreamsTest, EndsWhenTheClientTakesNoMore) {
  stream_.open = false;
  EventStreams streams(loop_, log_, kLong);
  net::RunTask(loop_, streams.Run(stream_, 0));
  EXPECT_EQ(stream_.writes.size(), 1U);
}

TEST_F(EventStreamsTest, ThereAreAsManyAsMayBeUntilOneIsGivenBack) {
  EventStreams streams(loop_, log_);
  std::vector<std::shared_ptr<const void>> claims;
  for (std::size_t i = 0; i < EventStreams::kStreamsMax; ++i) claims.push_back(streams.Claim());
  EXPECT_THAT(claims, testing::Each(testing::NotNull()));
  EXPECT_EQ(streams.Claim(), nullptr);
  claims.pop_back();
  EXPECT_NE(streams.Claim(), nullptr);
  EXPECT_EQ(streams.open(), EventStreams::kStreamsMax - 1) << "a claim ends when it is dropped";
}

}  // namespace
}  // namespace infinicache::admin
