#include "app/reclaim_setting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "app/files_for_test.h"

namespace infinicache::app {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using ::testing::HasSubstr;
using Kind = policy::ReclaimModel::Kind;

TEST(ReclaimSetting, ReadsEveryModel) {
  EXPECT_EQ(LoadReclaimModel("none")->kind, Kind::kNone);
  const auto life = LoadReclaimModel("max-life:10m");
  EXPECT_EQ(life->kind, Kind::kMaxLife);
  EXPECT_EQ(life->interval, minutes(10));
  const auto poisson = LoadReclaimModel("poisson:6/1h");
  EXPECT_EQ(poisson->kind, Kind::kPoisson);
  EXPECT_EQ(poisson->count, 6U);
  EXPECT_EQ(poisson->interval, hours(1));
  const auto spikes = LoadReclaimModel("spikes:2/5m");
  EXPECT_EQ(spikes->kind, Kind::kSpikes);
  EXPECT_EQ(spikes->count, 2U);
  EXPECT_EQ(spikes->interval, minutes(5));
}

TEST(ReclaimSetting, RefusesWhatIsNoModelAndSaysWhatIs) {
  for (const std::string text :
       {"", "often", "poisson:6", "poisson:/1h", "poisson:0/1h", "poisson:x/1h", "spikes:2/",
        "spikes:2/0", "max-life:", "max-life:0", "poisson:4096/1s", "spikes:5000/1h", "replay:"}) {
    const Status status = CheckReclaim(text);
    ASSERT_FALSE(status) << text;
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument) << text;
  }
  EXPECT_THAT(CheckReclaim("often").error().message, HasSubstr("poisson:6/1h"));
  EXPECT_TRUE(CheckReclaim("replay:/no/such/file")) << "the file is read when the server starts";
}

TEST(ReclaimSetting, ReadsAReplaySortedByTime) {
  const auto events = ParseReplay("# trace\n\n2 7\n0.5 3  # early\n2 1\n");
  ASSERT_TRUE(events) << events.error().message;
  const std::vector<policy::ReclaimEvent> expected = {{milliseconds(500), NodeId(3)},
                                                      {milliseconds(2000), NodeId(1)},
                                                      {milliseconds(2000), NodeId(7)}};
  EXPECT_EQ(*events, expected);
}

TEST(ReclaimSetting, NamesTheLineOfAReplayThatIsWrong) {
  for (const std::string text : {"1 2\nx 3\n", "1 2\n-1 3\n", "1 2\n3\n", "1 2\n1 2 3\n",
                                 "1 2\nnan 3\n", "1 2\n1 99999\n", "1 2\n1e300 3\n"}) {
    const auto events = ParseReplay(text);
    ASSERT_FALSE(events) << text;
    EXPECT_THAT(events.error().message, HasSubstr("line 2")) << text;
  }
}

TEST(ReclaimSetting, ReadsTheReplaysFileAndNamesIt) {
  EXPECT_THAT(LoadReclaimModel("replay:/no/such/file").error().message, HasSubstr("/no/such/file"));
  const FileForTest file("1 4\n");
  const auto model = LoadReclaimModel("replay:" + file.path());
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->kind, Kind::kReplay);
  ASSERT_EQ(model->replay.size(), 1U);
  EXPECT_EQ(model->replay[0].node, NodeId(4));
}

}  // namespace
}  // namespace infinicache::app
