#include "app/text_file.h"

#include <gtest/gtest.h>

#include "app/files_for_test.h"

namespace infinicache::app {
namespace {

TEST(ReadTextFile, ReadsAllUpToItsLimit) {
  const FileForTest file("0123456789");
  EXPECT_EQ(ReadTextFile(file.path(), 10).value(), "0123456789");
  const auto larger = ReadTextFile(file.path(), 9);
  ASSERT_FALSE(larger);
  EXPECT_EQ(larger.error().message, file.path() + ": larger than 9 B");
}

TEST(ReadTextFile, SaysWhyAFileCannotBeRead) {
  EXPECT_EQ(ReadTextFile("/nonexistent/file", 10).error().message,
            "/nonexistent/file: No such file or directory");
  EXPECT_EQ(ReadTextFile("/", 10).error().message, "/: Is a directory");
}

}  // namespace
}  // namespace infinicache::app
