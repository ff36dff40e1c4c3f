#include "net/notification.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/random.h"
#include "net/testing.h"

namespace infinicache::net {
namespace {

using std::chrono::milliseconds;

// Counts in `wakes` how often Wait returned true, until it returns false.
Task<> CountWakes(Notification& notification, TimePoint deadline, int& wakes) {
  while (co_await notification.Wait(deadline)) ++wakes;
}

Task<> WaitUntil(Notification& notification, TimePoint deadline, bool& notified,
                 TimePoint& returned) {
  notified = co_await notification.Wait(deadline);
  returned = EventLoop::Now();
}

TEST(Notification, ANotifyBeforeTheWaitIsRemembered) {
  EventLoop loop("test");
  Notification notification(loop);
  notification.Notify();
  EXPECT_TRUE(RunTask(loop, notification.Wait(TestDeadline())));
  EXPECT_FALSE(RunTask(loop, notification.Wait(EventLoop::Now() + milliseconds(1))));
}

TEST(Notification, SeveralNotifiesBeforeTheWaitCountAsOne) {
  EventLoop loop("test");
  Notification notification(loop);
  for (int i = 0; i < 5; ++i) notification.Notify();
  EXPECT_TRUE(RunTask(loop, notification.Wait(TestDeadline())));
  EXPECT_FALSE(RunTask(loop, notification.Wait(EventLoop::Now() + milliseconds(1))));
}

TEST(Notification, SeveralNotifiesBeforeASuspendedWaiterRunsCountAsOne) {
  EventLoop loop("test");
  auto notification = std::make_unique<Notification>(loop);
  int wakes = 0;
  loop.Spawn(CountWakes(*notification, TimePoint::max(), wakes));
  RunReady(loop);
  EXPECT_EQ(wakes, 0);
  for (int i = 0; i < 5; ++i) notification->Notify();
  EXPECT_EQ(wakes, 0) << "the waiter ran inside Notify";
  RunReady(loop);
  EXPECT_EQ(wakes, 1);
  notification->Notify();
  RunReady(loop);
  EXPECT_EQ(wakes, 2) << "a notify after the waiter ran is lost";
}

TEST(Notification, TheDeadlineEndsTheWaitAndNotBefore) {
  EventLoop loop("test");
  Notification notification(loop);
  const TimePoint deadline = EventLoop::Now() + milliseconds(12);
  EXPECT_FALSE(RunTask(loop, notification.Wait(deadline)));
  EXPECT_GE(EventLoop::Now(), deadline);
}

TEST(Notification, ADeadlineInThePastDoesNotWaitButANotifyStillCounts) {
  EventLoop loop("test");
  Notification notification(loop);
  const TimePoint past = EventLoop::Now() - milliseconds(1);
  Started<bool> in_vain(loop, notification.Wait(past));
  RunReady(loop);
  ASSERT_TRUE(in_vain.done());
  EXPECT_FALSE(in_vain.Get());
  notification.Notify();
  EXPECT_TRUE(RunTask(loop, notification.Wait(past)));
}

TEST(Notification, ANotifyAfterTheDeadlinePassedIsKeptForTheNextWait) {
  EventLoop loop("test");
  Notification notification(loop);
  EXPECT_FALSE(RunTask(loop, notification.Wait(EventLoop::Now() + milliseconds(1))));
  notification.Notify();
  EXPECT_TRUE(RunTask(loop, notification.Wait(TestDeadline())));
}

TEST(Notification, ManyWaitersEachEndByTheirNotifyOrTheirOwnDeadline) {
  constexpr std::uint64_t kSeed = 23;
  constexpr std::size_t kWaiters = 300;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  EventLoop loop("test");
  const TimePoint start = EventLoop::Now();
  struct Waiter {
    explicit Waiter(EventLoop& loop) : notification(loop) {}
    Notification notification;
    TimePoint deadline{};
    TimePoint returned{};
    bool to_notify = false;
    bool notified = false;
  };
  std::vector<std::unique_ptr<Waiter>> waiters;
  for (std::size_t i = 0; i < kWaiters; ++i) {
    Waiter& waiter = *waiters.emplace_back(std::make_unique<Waiter>(loop));
    waiter.to_notify = random.Below(2) == 0;
    const milliseconds patience(20 + random.Below(50));
    waiter.deadline = waiter.to_notify ? TestDeadline() : start + patience;
    loop.Spawn(WaitUntil(waiter.notification, waiter.deadline, waiter.notified, waiter.returned));
  }
  RunReady(loop);
  // In another order than they came, so that they leave the list of waiters from its middle.
  for (std::size_t i = 0; i < kWaiters; ++i) {
    Waiter& waiter = *waiters[(i * 7) % kWaiters];
    if (waiter.to_notify) waiter.notification.Notify();
  }
  RunToEnd(loop);
  for (const auto& waiter : waiters) {
    EXPECT_EQ(waiter->notified, waiter->to_notify);
    if (!waiter->to_notify) {
      EXPECT_GE(waiter->returned, waiter->deadline);
    }
  }
}

TEST(Notification, MayBeDestroyedWithItsWaiterWhenTheLoopHasEnded) {
  EventLoop loop("test");
  bool notified = false;
  TimePoint returned;
  for (const TimePoint deadline : {TimePoint::max(), TestDeadline()}) {
    auto notification = std::make_unique<Notification>(loop);
    loop.Spawn(WaitUntil(*notification, deadline, notified, returned));
    RunReady(loop);
    notification.reset();  // a sanitizer tells what leaks or is used after that
  }
  RunReady(loop);
  EXPECT_EQ(returned, TimePoint());
}

TEST(NotificationDeathTest, TwoWaitersAtOnceAreABug) {
  EventLoop loop("test");
  auto notification = std::make_unique<Notification>(loop);
  int wakes = 0;
  loop.Spawn(CountWakes(*notification, TimePoint::max(), wakes));
  loop.Spawn(CountWakes(*notification, TimePoint::max(), wakes));
  EXPECT_DEATH(RunReady(loop), "two coroutines wait on one notification");
}

}  // namespace
}  // namespace infinicache::net
