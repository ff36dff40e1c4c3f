#include "app/cost_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace infinicache::app {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing::Not;

// As admin/cost.h has it, cut to what is shown.
json::value Cost() {
  return json::parse(R"({"preset":"lambda-like",
    "price":{"name":"lambda-x86","date":"2026-11-23"},"hours":2.5,
    "dollars":0.0123,"dollars_per_hour":0.00492,"standing":{"dollars":0,"dollars_per_hour":0},
    "causes":{
      "serving":{"sessions":12345,"cold_starts":16,"billed_seconds":22.018,"gb_seconds":1.376,
                 "dollars":0.0122,"dollars_per_hour":0.00488},
      "warm_up":{"sessions":100,"cold_starts":1,"billed_seconds":0.1,"gb_seconds":0.00625,
                 "dollars":0.0001,"dollars_per_hour":0.00004}},
    "sessions":12445,"cold_starts":17,"billed_seconds":22.118,"gb_seconds":1.38225,
    "duty_cycle":0.012345,"requests":1000,"dollars_per_million_requests":12.3,
    "provisioned":{"name":"machines","dollars":25.92,"dollars_per_hour":10.368,"ratio":2107.3},
    "storage":{"name":"s3","dollars":0.004,"dollars_per_hour":0.0016,"ratio":0.325},
    "instances":{"busy":1,"idle":0,"frozen":15},
    "nodes":{"starting":0,"active":1,"down":0,"asleep":15,"waking":0,"total":16},
    "warm_up_interval_seconds":90.2})");
}

TEST(CostText, ShowsAtAGlanceWhatThePoolCostsAndWhatElseWould) {
  EXPECT_EQ(CostText(Cost()),
            "lambda-like, billed as lambda-x86 (2026-11-23), for 2h 30m\n"
            "  pool        $0.0123       $0.00492/h\n"
            "  provisioned $25.92        $10.37/h        machines, 2107 times the pool\n"
            "  storage     $0.00400      $0.00160/h      s3, 0.33 times the pool\n"
            "  duty cycle  1.234 %\n"
            "  instances   1 busy, 0 idle, 15 frozen; 16 nodes: 1 active, 15 asleep\n"
            "  warm-up     what has been idle for 1m 30s\n"
            "  requests    1,000, $12.30 a million\n"
            "\n"
            "CAUSE    SESSIONS  COLD  BILLED S   GB-S    DOLLARS      PER HOUR\n"
            "serving    12,345    16    22.018  1.376    $0.0122    $0.00488/h\n"
            "warm_up       100     1     0.100  0.006  $0.000100  $0.0000400/h\n"
            "total      12,445    17    22.118  1.382    $0.0123    $0.00492/h\n");
}

TEST(CostText, OfInstanceHoursItShowsWhatStands) {
  json::value cost = Cost();
  cost.at("standing") = {{"dollars", 0.5}, {"dollars_per_hour", 0.2}};
  EXPECT_THAT(CostText(cost), HasSubstr("\nstanding"));
  EXPECT_THAT(CostText(Cost()), Not(HasSubstr("standing")));
}

TEST(CostText, LeavesOutWhatIsNullOrMissing) {
  json::value cost = Cost();
  for (const char* name : {"provisioned", "storage", "duty_cycle", "dollars_per_million_requests",
                           "warm_up_interval_seconds"})
    cost.as_object()[name] = nullptr;
  const std::string text = CostText(cost);
  for (const char* absent : {"provisioned", "storage", "duty cycle", "million"})
    EXPECT_THAT(text, Not(HasSubstr(absent)));
  EXPECT_THAT(text, HasSubstr("warm-up     off\n"));
  EXPECT_THAT(CostText(json::object{}), HasSubstr("total"));
}

TEST(Dollars, HasThreeDigitsThatCountAndCents) {
  EXPECT_EQ(Dollars(0), "$0");
  EXPECT_EQ(Dollars(1234.5), "$1234.50");
  EXPECT_EQ(Dollars(0.5), "$0.500");
  EXPECT_EQ(Dollars(0.0000040465), "$0.00000405");
  EXPECT_EQ(Dollars(1e-12), "$0");
}

}  // namespace
}  // namespace infinicache::app
