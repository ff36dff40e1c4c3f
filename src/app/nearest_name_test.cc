#include "app/nearest_name.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace infinicache::app {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"nodes", "node-memory", "node-bandwidth",
                                                    "code", "repair"};

TEST(NearestName, ForgivesSlipsOfTheFinger) {
  EXPECT_EQ(NearestName("node", kNames), "nodes");
  EXPECT_EQ(NearestName("node-memroy", kNames), "node-memory");
  EXPECT_EQ(NearestName("node_memory", kNames), "node-memory");
  EXPECT_EQ(NearestName("cod", kNames), "code");
  EXPECT_EQ(NearestName("repairs", kNames), "repair");
}

TEST(NearestName, FindsAPartOfAName) {
  EXPECT_EQ(NearestName("bandwidth", kNames), "node-bandwidth");
}

TEST(NearestName, IsSilentWhenNothingIsMeant) {
  EXPECT_EQ(NearestName("", kNames), "");
  EXPECT_EQ(NearestName("x", kNames), "");
  EXPECT_EQ(NearestName("colour", kNames), "");
  EXPECT_EQ(NearestName(std::string(10000, 'n'), kNames), "");
  EXPECT_EQ(NearestName("nodes", {}), "");
}

}  // namespace
}  // namespace infinicache::app
