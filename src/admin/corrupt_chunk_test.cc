#include "admin/corrupt_chunk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace infinicache::admin {
namespace {

using testing::HasSubstr;

TEST(ParseCorruptRequest, TakesTheFirstByteOfTheFirstChunkUnlessTold) {
  EXPECT_EQ(*ParseCorruptRequest({{"key", "k"}}), (CorruptRequest{"k", 0, 0}));
  EXPECT_EQ(*ParseCorruptRequest({{"key", ""}, {"chunk", "11"}, {"byte", "4294967296"}}),
            (CorruptRequest{"", 11, 4294967296}));
}

TEST(ParseCorruptRequest, NamesTheParameterThatIsWrong) {
  const auto no_key = ParseCorruptRequest({{"chunk", "1"}});
  ASSERT_FALSE(no_key);
  EXPECT_THAT(no_key.error().message, HasSubstr("'key'"));
  for (const char* text : {"", "-1", "x", "1 ", "1.5", "18446744073709551616"}) {
    for (const char* name : {"chunk", "byte"}) {
      const auto request = ParseCorruptRequest({{"key", "k"}, {name, text}});
      ASSERT_FALSE(request) << name << text;
      EXPECT_EQ(request.error().code, ErrorCode::kInvalidArgument);
      EXPECT_THAT(request.error().message, HasSubstr(std::string("'") + name + "'"));
    }
  }
}

}  // namespace
}  // namespace infinicache::admin
