#include "platform/local/node_lines.h"

#include <gtest/gtest.h>

namespace infinicache::platform {
namespace {

constexpr std::string_view kReady = R"({"port":40001,"instance":"00000000000000ab","pid":7})";

TEST(NodeLines, AReadyLineNamesTheInstanceAndWhereItListens) {
  const auto instance = ParseReadyLine(NodeId(3), kReady, true);
  ASSERT_TRUE(instance);
  EXPECT_EQ(instance->node, NodeId(3));
  EXPECT_EQ(instance->id, InstanceId(0xAB));
  EXPECT_EQ(instance->address.port, 40001);
  EXPECT_EQ(instance->pid, 7);
  const auto silent =
      ParseReadyLine(NodeId(3), R"({"port":0,"instance":"00000000000000ab","pid":7})", false);
  ASSERT_TRUE(silent);
  EXPECT_EQ(silent->address.host, "");
}

TEST(NodeLines, WhatIsNoReadyLineIsRefused) {
  for (const char* line :
       {"", "{}", "[1]", "port 1", R"({"port":1,"pid":1})",
        R"({"port":-1,"instance":"ab","pid":1})", R"({"port":70000,"instance":"ab","pid":1})",
        R"({"port":1,"instance":"zz","pid":1})", R"({"port":0,"instance":"ab","pid":1})",
        R"({"port":"1","instance":"ab","pid":1})"}) {
    EXPECT_FALSE(ParseReadyLine(NodeId(1), line, true)) << line;
  }
  EXPECT_FALSE(ParseReadyLine(NodeId(1), kReady, false)) << "it listens though it must not";
}

TEST(NodeLines, AReturnLineNamesTheSession) {
  EXPECT_EQ(ParseReturnLine(R"({"end":"00000000000000cd"})"), SessionId(0xCD));
  for (const char* line : {"", "{}", "null", R"({"end":7})"})
    EXPECT_EQ(ParseReturnLine(line), SessionId()) << line;
}

TEST(NodeLines, ADescriptionSaysWhoIsThePrimary) {
  for (const bool is_primary : {true, false}) {
    const auto read = ParseDescription(DescribeInstance(NodeId(5), kReady, is_primary), true);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->instance.node, NodeId(5));
    EXPECT_EQ(read->instance.id, InstanceId(0xAB));
    EXPECT_EQ(read->ready_line, kReady);
    EXPECT_EQ(read->is_primary, is_primary);
  }
  for (const char* text : {"", "{}", R"({"node":1})", R"({"node":1,"ready":"{}"})"})
    EXPECT_FALSE(ParseDescription(text, true)) << text;
}

}  // namespace
}  // namespace infinicache::platform
