#include "base/result.h"

#include <gtest/gtest.h>

#include <cctype>
#include <cerrno>
#include <set>
#include <string_view>

namespace infinicache {
namespace {

TEST(ErrorCodeName, IsAStableDistinctMetricLabelForEachCode) {
  std::set<std::string_view> names;
  const auto last = static_cast<int>(ErrorCode::kInternal);
  for (int code = 0; code <= last; ++code) {
    const std::string_view name = ErrorCodeName(static_cast<ErrorCode>(code));
    EXPECT_NE(name, "unknown") << code;
    for (char c : name) EXPECT_TRUE(std::islower(c) != 0 || c == '_') << name;
    EXPECT_TRUE(names.insert(name).second) << name << " names two codes";
  }
  EXPECT_EQ(ErrorCodeName(ErrorCode::kOutOfMemory), "out_of_memory");
  EXPECT_EQ(ErrorCodeName(ErrorCode::kDeadlineExceeded), "deadline_exceeded");
}

TEST(Error, ToStringNamesTheCodeAndTheMessage) {
  EXPECT_EQ((Error{ErrorCode::kOutOfMemory, "node 3 has no room"}.ToString()),
            "out_of_memory: node 3 has no room");
}

TEST(Result, HoldsAValueOrTheErrorOfFail) {
  const auto half = [](int value) -> Result<int> {
    if (value % 2 != 0) return Fail(ErrorCode::kInvalidArgument, "odd");
    return value / 2;
  };
  EXPECT_EQ(half(8).value_or(-1), 4);
  const Result<int> failed = half(7);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(failed.error().message, "odd");
  EXPECT_TRUE(Status().has_value());
}

TEST(ErrnoError, NamesTheCallAndTheCause) {
  const Error error = ErrnoError("bind 127.0.0.1:6378", EADDRINUSE);
  EXPECT_EQ(error.message, "bind 127.0.0.1:6378: Address already in use");
  EXPECT_EQ(error.code, ErrorCode::kInternal);
}

TEST(ErrnoError, ALostPeerIsUnavailable) {
  for (int number : {ECONNREFUSED, ECONNRESET, EPIPE}) {
    EXPECT_EQ(ErrnoError("send", number).code, ErrorCode::kUnavailable) << number;
  }
}

}  // namespace
}  // namespace infinicache
