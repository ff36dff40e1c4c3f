#include "net/timer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>

#include "net/testing.h"

namespace infinicache::net {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

// Runs `loop` until a timer that was started now has called its function.
void RunTimers(EventLoop& loop) {
  RunTask(loop, loop.Sleep(milliseconds(1)));
}

TEST(Timer, CallsItsFunctionOnceAndNotTooEarly) {
  EventLoop loop("test");
  Timer timer(loop);
  int calls = 0;
  const TimePoint due = EventLoop::Now() + milliseconds(10);
  timer.Start(milliseconds(10), [&] { ++calls; });
  EXPECT_EQ(calls, 0);
  RunUntil(loop, [&] { return calls > 0; });
  EXPECT_GE(EventLoop::Now(), due);
  RunTask(loop, loop.Sleep(milliseconds(15)));
  EXPECT_EQ(calls, 1);
}

TEST(Timer, ALaterStartReplacesTheEarlier) {
  EventLoop loop("test");
  Timer timer(loop);
  int first = 0;
  int second = 0;
  timer.Start(milliseconds(0), [&] { ++first; });
  timer.Start(milliseconds(1), [&] { ++second; });
  RunUntil(loop, [&] { return second > 0; });
  EXPECT_EQ(first, 0);
}

TEST(Timer, CancelAndDestructionKeepItFromCalling) {
  EventLoop loop("test");
  int calls = 0;
  Timer cancelled(loop);
  cancelled.Start(milliseconds(0), [&] { ++calls; });
  cancelled.Cancel();
  {
    Timer destroyed(loop);
    destroyed.Start(milliseconds(0), [&] { ++calls; });
  }
  RunTimers(loop);
  EXPECT_EQ(calls, 0);
}

// Timers that are due together are queued together: the calls of the later ones wait in the loop's
// queue while the first runs.
TEST(Timer, ACallThatIsDueAlreadyIsNotMadeAfterCancelStartOrDestruction) {
  EventLoop loop("test");
  int stale = 0;
  int restarted = 0;
  Timer first(loop);
  Timer cancelled(loop);
  Timer replaced(loop);
  std::optional<Timer> destroyed(std::in_place, loop);
  first.Start(milliseconds(0), [&] {
    cancelled.Cancel();
    replaced.Start(milliseconds(0), [&] { ++restarted; });
    destroyed.reset();
  });
  cancelled.Start(milliseconds(0), [&] { ++stale; });
  replaced.Start(milliseconds(0), [&] { ++stale; });
  destroyed->Start(milliseconds(0), [&] { ++stale; });
  RunUntil(loop, [&] { return restarted > 0; });
  RunTimers(loop);
  EXPECT_EQ(stale, 0);
  EXPECT_EQ(restarted, 1);
}

TEST(Timer, ItsFunctionMayStartItAgainOrDestroyIt) {
  EventLoop loop("test");
  Timer again(loop);
  int rounds = 0;
  again.Start(milliseconds(0), [&] {
    ++rounds;
    again.Start(milliseconds(0), [&] { ++rounds; });
  });
  RunUntil(loop, [&] { return rounds == 2; });

  auto own = std::make_unique<Timer>(loop);
  own->Start(milliseconds(0), [&] { own.reset(); });
  RunUntil(loop, [&] { return own == nullptr; });
}

TEST(Timer, MayBeDestroyedWhileItWaits) {
  EventLoop loop("test");
  Timer timer(loop);
  timer.Start(hours(1), [] { FAIL() << "an hour has not passed"; });
  RunReady(loop);
}

}  // namespace
}  // namespace infinicache::net
