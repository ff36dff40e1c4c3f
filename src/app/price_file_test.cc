#include "app/price_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "app/files_for_test.h"

namespace infinicache::app {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::StartsWith;

TEST(BuiltInPrices, HoldWhatTheDesignComparesEachWithItsOrigin) {
  const policy::PriceTable& table = BuiltInPrices();
  for (const char* name :
       {"lambda-x86", "lambda-arm", "lambda-2019", "cloud-run", "knative-gke-autopilot",
        "elasticache-r5.24xlarge", "elasticache-gb-hour", "s3-standard"}) {
    EXPECT_NE(table.Find(name), nullptr) << name;
  }
  for (const policy::Price& price : table.prices) {
    EXPECT_FALSE(price.description.empty() || price.source.empty()) << price.name;
    EXPECT_EQ(price.date.size(), 10U) << price.name;
  }
  EXPECT_EQ(table.prices.front().name, "lambda-x86") << "not in the file's order";
  EXPECT_EQ(table.Find("lambda-x86")->Billing().quantum, std::chrono::milliseconds(1));
  EXPECT_EQ(table.Find("lambda-2019")->Billing().quantum, std::chrono::milliseconds(100));
}

TEST(ParsePriceFile, NamesTheLineOfEveryProblemWithItsRemedy) {
  const PriceFile file = ParsePriceFile(
      "[s]\nkind = 'storage'\ndescription = 'd'\nsource = ''\ndate = '2026'\n"
      "dollars_per_gb_month = -1\nread_dolars_per_million = 1\n\n[x]\nkind = 'free'\n",
      "p.toml");
  EXPECT_THAT(
      file.problems,
      ElementsAre("p.toml:1: s: read_dollars_per_million is missing",
                  "p.toml:4: s: source: must be a text in quotes",
                  "p.toml:5: s: date: must be a day without quotes, as 2026-11-23",
                  "p.toml:6: s: dollars_per_gb_month: must be a number, 0 or above, without quotes",
                  "p.toml:7: s: read_dolars_per_million: not known; did you mean "
                  "read_dollars_per_million?",
                  "p.toml:9: x: description is missing", "p.toml:9: x: source is missing",
                  "p.toml:9: x: date is missing",
                  "p.toml:10: x: kind: 'free' is none; write function, instance_hours or storage"));
}

TEST(ParsePriceFile, RefusesAQuantumOfNothingAndWhatIsNoToml) {
  EXPECT_THAT(ParsePriceFile("[f]\nkind = 'function'\ndescription = 'd'\nsource = 's'\n"
                             "date = 2026-01-02\nrequest_dollars_per_million = 1\n"
                             "dollars_per_gb_second = 1\ndollars_per_vcpu_second = 0\n"
                             "quantum_ms = 0\nminimum_ms = 0\n",
                             "p.toml")
                  .problems,
              ElementsAre("p.toml:9: f: quantum_ms: must be above 0"));
  EXPECT_THAT(ParsePriceFile("[f\n", "p.toml").problems, ElementsAre(StartsWith("p.toml:1: ")));
  EXPECT_THAT(ParsePriceFile("", "p.toml").problems, ElementsAre(StartsWith("p.toml:1: no price")));
}

TEST(ReadPriceFile, ReadsBackTheBuiltInText) {
  const FileForTest text(BuiltInPriceText());
  const PriceFile file = ReadPriceFile(text.path());
  EXPECT_THAT(file.problems, IsEmpty());
  EXPECT_EQ(file.table.prices.size(), BuiltInPrices().prices.size());
  EXPECT_EQ(ReadPriceFile("/nosuch/prices.toml").problems.size(), 1U);
}

}  // namespace
}  // namespace infinicache::app
