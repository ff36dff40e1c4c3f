#include "app/redis_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace infinicache::app {
namespace {

using testing::Contains;
using testing::Pair;

TEST(RedisConfig, AnswersWhatRedisClientsAsk) {
  Settings settings;
  settings.nodes = 12;
  settings.node_memory = kGiB;
  const auto rows = RedisConfig(settings);
  EXPECT_THAT(rows, Contains(Pair("maxmemory", std::to_string(12 * kGiB))));
  EXPECT_THAT(rows, Contains(Pair("save", "")));
  EXPECT_THAT(rows, Contains(Pair("appendonly", "no")));
  EXPECT_THAT(rows, Contains(Pair("databases", "1")));
  EXPECT_THAT(rows, Contains(Pair("port", "6378")));
  EXPECT_THAT(rows, Contains(Pair("node-memory", "1GiB")));
}

TEST(RedisConfig, NeverTellsThePassword) {
  Settings settings;
  settings.password = "hidden";
  for (const auto& [name, value] : RedisConfig(settings)) {
    EXPECT_NE(name, "password");
    EXPECT_EQ(value.find("hidden"), std::string::npos) << name;
  }
}

TEST(RedisConfig, HasEachNameOnce) {
  std::set<std::string> names;
  for (const auto& [name, value] : RedisConfig(Settings{})) {
    EXPECT_TRUE(names.insert(name).second) << name;
  }
}

}  // namespace
}  // namespace infinicache::app
