#include "cache/gone_log.h"

#include <gtest/gtest.h>

#include <string>

namespace infinicache::cache {
namespace {

using Sum = GoneLog::Sum;

Sum Of(const GoneLog::News& news, GoneCause cause) {
  return news.others[static_cast<std::size_t>(cause)];
}

TEST(GoneLog, CountsEachDepartureOnceAndTellsItOnce) {
  GoneCounters counters;
  GoneLog log(counters);
  log.Count(GoneCause::kEvicted, 3, 300);
  log.Count(GoneCause::kEvicted, 1, 50);
  log.AddLoss(GoneCause::kReclaimed, "k", 7, {{NodeId(4), pool::Epoch(2)}});
  EXPECT_EQ(counters.Objects(GoneCause::kEvicted), 4U);
  EXPECT_EQ(counters.Bytes(GoneCause::kEvicted), 350U);
  EXPECT_EQ(counters.Lost(), 1U);

  GoneLog::News news = log.Take();
  EXPECT_EQ(Of(news, GoneCause::kEvicted).objects, 4U);
  EXPECT_EQ(Of(news, GoneCause::kEvicted).bytes, 350U);
  EXPECT_EQ(Of(news, GoneCause::kReclaimed).objects, 0U) << "it is named";
  EXPECT_EQ(Of(news, GoneCause::kReclaimed).bytes, 0U);
  ASSERT_EQ(news.losses.size(), 1U);
  EXPECT_EQ(news.losses[0].key, "k");
  EXPECT_EQ(news.losses[0].chunks[0].node, NodeId(4));

  news = log.Take();
  EXPECT_TRUE(news.losses.empty());
  EXPECT_EQ(Of(news, GoneCause::kEvicted).objects, 0U);
}

TEST(GoneLog, NamesSoManyLossesAndSumsUpTheOthers) {
  GoneCounters counters;
  GoneLog log(counters);
  constexpr std::size_t kMany = GoneLog::kNamedMax + 10;
  for (std::size_t i = 0; i < kMany; ++i)
    log.AddLoss(GoneCause::kCorrupt, std::to_string(i), 5, {});
  const GoneLog::News news = log.Take();
  EXPECT_EQ(news.losses.size(), GoneLog::kNamedMax);
  EXPECT_EQ(Of(news, GoneCause::kCorrupt).objects, 10U);
  EXPECT_EQ(Of(news, GoneCause::kCorrupt).bytes, 50U);
  EXPECT_EQ(counters.Lost(), kMany);
}

TEST(GoneLog, ShowsAnyKeyInPrintableCharactersAndBoundedLength) {
  EXPECT_EQ(PrintableKey("photo/1 \"x\""), "photo/1 \"x\"");
  EXPECT_EQ(PrintableKey(std::string("a\0\x1b\\\xff", 5)), "a\\x00\\x1b\\x5c\\xff");
  EXPECT_EQ(PrintableKey(std::string(64, 'k')), std::string(64, 'k'));
  EXPECT_EQ(PrintableKey(std::string(65, 'k')), std::string(64, 'k') + "...");
  EXPECT_LE(PrintableKey(std::string(100'000, '\n')).size(), 64U * 4 + 3);
}

TEST(GoneLog, EveryCauseHasAName) {
  for (std::size_t i = 0; i < kGoneCauses; ++i)
    EXPECT_NE(GoneCauseName(static_cast<GoneCause>(i)), "unknown");
}

}  // namespace
}  // namespace infinicache::cache
