#include "app/duration.h"

#include <gtest/gtest.h>

namespace infinicache::app {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

TEST(ParseDuration, ReadsEveryUnit) {
  EXPECT_EQ(ParseDuration("250ms").value(), milliseconds(250));
  EXPECT_EQ(ParseDuration("5s").value(), seconds(5));
  EXPECT_EQ(ParseDuration("1.5 s").value(), milliseconds(1500));
  EXPECT_EQ(ParseDuration("2m").value(), minutes(2));
  EXPECT_EQ(ParseDuration("2MIN").value(), minutes(2));
  EXPECT_EQ(ParseDuration("1h").value(), hours(1));
  EXPECT_EQ(ParseDuration("3d").value(), hours(72));
  EXPECT_EQ(ParseDuration("0").value(), seconds(0));
  EXPECT_EQ(ParseDuration("0s").value(), seconds(0));
}

TEST(ParseDuration, RefusesANumberWithoutAUnitAndNamesAnExample) {
  const auto duration = ParseDuration("60");
  ASSERT_FALSE(duration);
  EXPECT_EQ(duration.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(duration.error().message, "'60' has no unit; write for example 500ms, 5s or 2m");
}

TEST(ParseDuration, RefusesWhatIsNoDuration) {
  for (const char* text : {"", "s", "five", "-1s", "1e3s", "5 x", "5sec", "nan", "inf", "0x5s",
                           "99999999999999999999d"}) {
    EXPECT_FALSE(ParseDuration(text)) << text;
  }
}

TEST(PrintDuration, IsReadBackToTheSameDuration) {
  for (const Duration duration :
       {Duration(0), Duration(milliseconds(1)), Duration(milliseconds(1500)), Duration(seconds(5)),
        Duration(seconds(60)), Duration(seconds(90)), Duration(seconds(3601)),
        Duration(minutes(10)), Duration(minutes(90)), Duration(hours(24))}) {
    EXPECT_EQ(ParseDuration(PrintDuration(duration)).value(), duration) << PrintDuration(duration);
  }
}

TEST(PrintDuration, IsShort) {
  EXPECT_EQ(PrintDuration(milliseconds(1500)), "1500ms");
  EXPECT_EQ(PrintDuration(seconds(60)), "60s");
  EXPECT_EQ(PrintDuration(minutes(10)), "10m");
  EXPECT_EQ(PrintDuration(hours(24)), "24h");
}

TEST(DescribeDuration, HasTwoUnitsAtMost) {
  EXPECT_EQ(DescribeDuration(milliseconds(340)), "340ms");
  EXPECT_EQ(DescribeDuration(milliseconds(12'900)), "12s");
  EXPECT_EQ(DescribeDuration(seconds(200)), "3m 20s");
  EXPECT_EQ(DescribeDuration(minutes(125)), "2h 5m");
  EXPECT_EQ(DescribeDuration(hours(99) + minutes(59)), "4d 3h");
}

}  // namespace
}  // namespace infinicache::app
