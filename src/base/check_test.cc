#include "base/check.h"

#include <gtest/gtest.h>

namespace infinicache {
namespace {

TEST(Check, EvaluatesItsConditionOnceAndItsDetailNever) {
  int conditions = 0;
  int details = 0;
  const auto detail = [&details] { return ++details; };
  CHECK(++conditions == 1, "detail {}", detail());
  EXPECT_EQ(conditions, 1);
  EXPECT_EQ(details, 0);
}

TEST(Check, IsOneStatement) {
  bool otherwise = false;
  if (!otherwise)
    CHECK(true);
  else
    otherwise = true;
  EXPECT_FALSE(otherwise);
}

TEST(CheckDeathTest, StopsTheProgramWithExpressionPlaceAndDetail) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const int index = 7;
  EXPECT_DEATH(CHECK(index < 5), "CHECK failed: index < 5 at .*check_test\\.cc:[0-9]+");
  EXPECT_DEATH(CHECK(index < 5, "index {} of {}", index, 5), ": index 7 of 5");
}

}  // namespace
}  // namespace infinicache
