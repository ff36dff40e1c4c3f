#include "cache/memory_budget.h"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "net/testing.h"

namespace infinicache::cache {
namespace {

using std::chrono::milliseconds;

class MemoryBudgetTest : public testing::Test {
 protected:
  ~MemoryBudgetTest() override { net::RunToEnd(loop_); }
  net::Started<Status> Acquire(std::size_t bytes) {
    net::Started<Status> started(loop_, budget_.Acquire(bytes, net::TestDeadline()));
    net::RunReady(loop_);
    return started;
  }

  net::EventLoop loop_{"test"};
  MemoryBudget budget_{loop_, 100};
};

TEST_F(MemoryBudgetTest, WaitersAreServedInOrderOfArrivalAlsoIfALaterOneWouldFit) {
  auto holder = Acquire(80);
  ASSERT_TRUE(holder.done());
  auto large = Acquire(90);
  auto small = Acquire(10);
  EXPECT_FALSE(large.done());
  EXPECT_FALSE(small.done()) << "10 would fit, but another was first";
  budget_.Release(80);
  net::RunReady(loop_);
  EXPECT_TRUE(large.done());
  EXPECT_TRUE(small.done());
  EXPECT_EQ(budget_.used(), 100U);
  budget_.Release(100);
}

TEST_F(MemoryBudgetTest, TryAcquireRefusesWhileSomebodyWaits) {
  EXPECT_TRUE(budget_.TryAcquire(60));
  EXPECT_FALSE(budget_.TryAcquire(41));
  auto waiter = Acquire(50);
  EXPECT_FALSE(budget_.TryAcquire(1));
  budget_.Release(60);
  net::RunReady(loop_);
  EXPECT_TRUE(waiter.done());
  EXPECT_TRUE(budget_.TryAcquire(50));
  EXPECT_FALSE(budget_.TryAcquire(1));
  budget_.Release(100);
}

TEST_F(MemoryBudgetTest, ARequestLargerThanTheBudgetIsGrantedWhenNothingElseIs) {
  EXPECT_TRUE(budget_.TryAcquire(1));
  auto oversize = Acquire(1000);
  EXPECT_FALSE(oversize.done());
  budget_.Release(1);
  net::RunReady(loop_);
  ASSERT_TRUE(oversize.done());
  EXPECT_FALSE(budget_.TryAcquire(1));
  budget_.Release(1000);
  EXPECT_EQ(budget_.used(), 0U);
}

TEST_F(MemoryBudgetTest, AWaitEndsAtItsDeadlineAndLetsTheNextOnePass) {
  ASSERT_TRUE(budget_.TryAcquire(50));
  net::Started<Status> late(loop_, budget_.Acquire(60, net::EventLoop::Now() + milliseconds(10)));
  net::RunReady(loop_);
  auto next = Acquire(50);
  EXPECT_FALSE(next.done());
  const Status status = late.Get();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_TRUE(next.Get());
  EXPECT_EQ(budget_.used(), 100U);
  budget_.Release(100);
}

TEST_F(MemoryBudgetTest, ForceAcquireNeverWaitsAndHoldsUpOthers) {
  ASSERT_TRUE(budget_.TryAcquire(100));
  budget_.ForceAcquire(50);
  auto waiter = Acquire(100);
  budget_.Release(100);
  net::RunReady(loop_);
  EXPECT_FALSE(waiter.done());
  budget_.Release(50);
  EXPECT_TRUE(waiter.Get());
  budget_.Release(100);
}

}  // namespace
}  // namespace infinicache::cache
