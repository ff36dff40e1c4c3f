#include "net/event_loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "net/notification.h"
#include "net/testing.h"

namespace infinicache::net {
namespace {

using std::chrono::milliseconds;

Task<> Count(std::size_t& ended, std::thread::id expected) {
  EXPECT_EQ(std::this_thread::get_id(), expected);
  ++ended;
  co_return;
}

Task<> WaitFor(Notification& notification) {
  co_await notification.Wait(TimePoint::max());
}

Task<> AskForWhatIsNotThere() {
  const std::vector<int> empty;
  [[maybe_unused]] const int value = empty.at(1);
  co_return;
}

TEST(EventLoop, RunsWhatOtherThreadsPostOnItsThreadInTheirOrder) {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kPosts = 2000;
  EventLoop loop("test");
  loop.Start();
  std::atomic<std::thread::id> loop_thread;
  loop.Post([&] { loop_thread = std::this_thread::get_id(); });

  // Touched on the loop's thread only, until it has ended.
  std::vector<std::size_t> next(kThreads, 0);
  std::size_t out_of_order = 0;
  std::size_t elsewhere = 0;
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < kPosts; ++i) {
        loop.Post([&, t, i] {
          if (next[t]++ != i) ++out_of_order;
          if (std::this_thread::get_id() != loop_thread.load()) ++elsewhere;
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  loop.Post([&] { loop.Stop(); });
  loop.Join();

  EXPECT_EQ(next, std::vector<std::size_t>(kThreads, kPosts));
  EXPECT_EQ(out_of_order, 0U);
  EXPECT_EQ(elsewhere, 0U);
  EXPECT_NE(loop_thread.load(), std::this_thread::get_id());
}

TEST(EventLoop, APostedFunctionNeverRunsInsideTheCall) {
  EventLoop loop("test");
  bool ran = false;
  loop.Post([&] {
    loop.Post([&] { ran = true; });
    EXPECT_FALSE(ran);
  });
  EXPECT_FALSE(ran);
  RunReady(loop);
  EXPECT_TRUE(ran);
}

TEST(EventLoop, SpawnsTasksOfOtherThreadsAndCountsThoseThatRun) {
  constexpr std::size_t kTasks = 100;
  EventLoop loop("test");
  const std::thread::id here = std::this_thread::get_id();
  std::size_t ended = 0;
  std::thread other([&] {
    for (std::size_t i = 0; i < kTasks; ++i) loop.Spawn(Count(ended, here));
  });
  other.join();
  EXPECT_EQ(ended, 0U) << "a task ran on the thread that spawned it";
  RunToEnd(loop);
  EXPECT_EQ(ended, kTasks);

  Notification notification(loop);
  loop.Spawn(WaitFor(notification));
  RunReady(loop);
  EXPECT_EQ(loop.active_tasks(), 1U);
  notification.Notify();
  RunToEnd(loop);
  EXPECT_EQ(loop.active_tasks(), 0U);
}

TEST(EventLoop, StopOfAnotherThreadEndsRun) {
  EventLoop loop("test");
  std::thread runner([&] { loop.Run(); });
  loop.Stop();
  runner.join();
}

TEST(EventLoop, KeepsRunningWhileThereIsNothingToDo) {
  EventLoop loop("test");
  loop.Start();
  // The second round trip finds the loop idle after the first.
  for (int round = 0; round < 2; ++round) {
    std::atomic<bool> ran = false;
    loop.Post([&] {
      ran = true;
      ran.notify_one();
    });
    ran.wait(false);
  }
  loop.Stop();
  loop.Join();
}

TEST(EventLoop, SleepsAtLeastAsLongAsAsked) {
  EventLoop loop("test");
  const TimePoint before = EventLoop::Now();
  RunTask(loop, loop.Sleep(milliseconds(20)));
  EXPECT_GE(EventLoop::Now() - before, milliseconds(20));
  RunTask(loop, loop.Sleep(milliseconds(-1)));
}

TEST(EventLoop, TasksThatStillWaitAreDestroyedWithIt) {
  auto loop = std::make_unique<EventLoop>("test");
  loop->Spawn(loop->Sleep(std::chrono::hours(1)));
  RunReady(*loop);
  loop.reset();  // a sanitizer tells what leaks or is used after that
}

TEST(EventLoopDeathTest, StopsTheProgramAtAnExceptionOfATask) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EventLoop loop("test");
  loop.Spawn(AskForWhatIsNotThere());
  EXPECT_DEATH(RunReady(loop), "a task ended with an exception: .*range_check");
}

TEST(EventLoopDeathTest, StopsTheProgramWhenDestroyedWhileItRuns) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        EventLoop loop("busy");
        loop.Start();
      },
      "loop busy is still running");
}

}  // namespace
}  // namespace infinicache::net
