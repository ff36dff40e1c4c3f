#include "admin/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace infinicache::admin {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr WallMillis kMinute = 60'000;
constexpr WallMillis kNow = 100 * kMinute;

pool::Event Event(WallMillis at, pool::EventKind kind = pool::EventKind::kInstanceReclaimed) {
  return {1, at, kind, NodeId(0), InstanceId(1), ""};
}

DoctorView Healthy() {
  DoctorView view;
  view.code = {10, 2};
  view.nodes = view.nodes_active = 16;
  view.risk.by_spare[2] = {100, 5000};
  view.window = minutes(1);
  view.losses_by_window = std::vector<std::uint64_t>(60);
  return view;
}

auto Is(const char* severity, const char* text) {
  return AllOf(Field(&Finding::severity, severity), Field(&Finding::text, HasSubstr(text)));
}

TEST(Doctor, SortsLossesIntoWindowsThatEndNow) {
  const std::vector<pool::Event> events = {
      Event(kNow - 61 * kMinute),  // too long ago
      Event(kNow - 3 * kMinute + 1),
      Event(kNow - 1),
      Event(kNow - 2),
      Event(kNow - 3, pool::EventKind::kInstanceStarted),
      Event(kNow - 2 * kMinute + 5, pool::EventKind::kInstanceEnded),
      Event(kNow + 5)};
  EXPECT_THAT(LossesByWindow(events, minutes(1), kNow - 3 * kMinute, kNow), ElementsAre(1, 1, 2));
  EXPECT_EQ(LossesByWindow(events, minutes(1), 0, kNow).size(), 60U);
  EXPECT_EQ(LossesByWindow(events, minutes(1), kNow, kNow).size(), 1U);
}

TEST(Doctor, LossesAreSimultaneousForAsLongAsRepairTakes) {
  EXPECT_EQ(DoctorWindow(true, std::nullopt), minutes(1));
  EXPECT_EQ(DoctorWindow(true, milliseconds(200)), seconds(1));
  EXPECT_EQ(DoctorWindow(true, seconds(90)), seconds(90));
  EXPECT_EQ(DoctorWindow(true, hours(7)), hours(1));
  EXPECT_EQ(DoctorWindow(false, seconds(1)), hours(1));
}

TEST(Doctor, FindsNothingInAHealthyPool) {
  EXPECT_THAT(Findings(Healthy()), IsEmpty());
  EXPECT_EQ(Predict(Healthy()).availability_per_hour, 1);
}

TEST(Doctor, NamesWhatIsLostWhatIsNextAndWhatWaits) {
  DoctorView view = Healthy();
  view.nodes_active = 14;
  view.risk.lost = {3, 30};
  view.risk.by_spare[0] = {1, 10};
  view.risk.incomplete = 9;
  view.backups_failing = 2;
  const auto findings = Findings(view);
  EXPECT_THAT(findings, Contains(Is("error", "3 objects cannot be read")));
  EXPECT_THAT(findings, Contains(Is("error", "1 object will be lost with the next")));
  EXPECT_THAT(findings, Contains(Is("warning", "2 of 16 nodes")));
  EXPECT_THAT(findings, Contains(Is("warning", "9 objects lack chunks")));
  EXPECT_THAT(findings, Contains(Is("warning", "2 nodes cannot be backed up")));
}

TEST(Doctor, PredictsFromTheLossesThatWereObserved) {
  DoctorView view = Healthy();
  view.losses_by_window[7] = 4;
  view.losses_by_window[8] = 1;
  const Prediction prediction = Predict(view);
  EXPECT_EQ(prediction.instances_lost, 5U);
  EXPECT_EQ(prediction.worst_window, 4U);
  EXPECT_DOUBLE_EQ(prediction.observed_hours, 1);
  // Of 16 nodes 12 hold a chunk; of 4 lost ones 3 or 4 are among them: (220*4 + 495) / 1820.
  EXPECT_NEAR(prediction.loss_per_window, 1375.0 / 1820 / 60, 1e-9);
  EXPECT_THAT(Findings(view), Contains(Is("warning", "survives an hour")));
}

TEST(Doctor, WithoutParityEveryObjectHasNothingToSpareAndThatIsSaidOnce) {
  DoctorView view = Healthy();
  view.code = {10, 0};
  view.risk.by_spare[2] = {};
  view.risk.by_spare[0] = {100, 5000};
  EXPECT_THAT(Findings(view), ElementsAre(Is("warning", "no parity")));
}

}  // namespace
}  // namespace infinicache::admin
