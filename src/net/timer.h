// A one-shot timer that calls a function on its loop. Cancelled by destruction: after that, and
// after Cancel, the function is not called, even if its time had passed already. Owned and used on
// one loop.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>

#include "base/clock.h"
#include "net/event_loop.h"

namespace infinicache::net {

class Timer {
 public:
  explicit Timer(EventLoop& loop) : timer_(loop.context()) {}
  ~Timer() { Cancel(); }

  // Calls `function` once after `delay`; an earlier Start is replaced.
  void Start(Duration delay, std::function<void()> function);
  void Cancel();

 private:
  SteadyTimer timer_;
  // Whether the call that was started last may still be made: a call whose time has passed waits in
  // the loop's queue, where cancelling the timer does not reach it.
  std::shared_ptr<bool> wanted_;
};

}  // namespace infinicache::net
