// A one-shot timer that calls a function on its loop. Cancelled by destruction. Owned and used on
// one loop.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>

#include "base/clock.h"
#include "net/event_loop.h"

namespace infinicache::net {

class Timer {
 public:
  explicit Timer(EventLoop& loop) : timer_(loop.context()) {}

  // Calls `function` once after `delay`; an earlier Start is replaced.
  void Start(Duration delay, std::function<void()> function);
  void Cancel() { timer_.cancel(); }

 private:
  boost::asio::steady_timer timer_;
};

}  // namespace infinicache::net
