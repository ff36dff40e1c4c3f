#include "policy/prices.h"

#include <gtest/gtest.h>

#include <chrono>

namespace infinicache::policy {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

TEST(BilledDuration, RoundsUpAtTheEdgesOfTheQuantum) {
  const BillingRule rule{milliseconds(100), nanoseconds(0)};
  EXPECT_EQ(BilledDuration(milliseconds(0), rule), milliseconds(100));
  EXPECT_EQ(BilledDuration(nanoseconds(1), rule), milliseconds(100));
  EXPECT_EQ(BilledDuration(milliseconds(100), rule), milliseconds(100));
  EXPECT_EQ(BilledDuration(milliseconds(100) + nanoseconds(1), rule), milliseconds(200));
  EXPECT_EQ(BilledDuration(milliseconds(200) - nanoseconds(1), rule), milliseconds(200));
}

TEST(BilledDuration, BillsNoLessThanTheMinimumRounded) {
  const BillingRule rule{milliseconds(100), milliseconds(250)};
  EXPECT_EQ(BilledDuration(milliseconds(1), rule), milliseconds(300));
  EXPECT_EQ(BilledDuration(milliseconds(301), rule), milliseconds(400));
}

TEST(StandingDollars, RentsWholeMachinesThatHoldTheMemory) {
  const InstanceHoursPrice price{0, 0, 10.368, 635.61, 0, true};
  EXPECT_DOUBLE_EQ(StandingDollars(price, {600 * 50, 0, 50}), 518.40);
  EXPECT_DOUBLE_EQ(StandingDollars(price, {635.61 * 50, 0, 50}), 518.40);
  EXPECT_DOUBLE_EQ(StandingDollars(price, {636 * 50, 0, 50}), 2 * 518.40);
}

TEST(StandingDollars, TakesTheShareOfTheScarcerResourceOfASharedMachine) {
  const InstanceHoursPrice price{0, 0, 1, 16, 4, false};
  EXPECT_DOUBLE_EQ(StandingDollars(price, {8, 1, 1}), 0.5);
  EXPECT_DOUBLE_EQ(StandingDollars(price, {8, 3, 1}), 0.75);
}

TEST(PriceTable, FindsAPriceByItsName) {
  const PriceTable table{{{"a", "", "", "", StoragePrice{}}, {"b", "", "", "", FunctionPrice{}}}};
  EXPECT_EQ(table.Find("b"), &table.prices[1]);
  EXPECT_EQ(table.Find("c"), nullptr);
}

}  // namespace
}  // namespace infinicache::policy
