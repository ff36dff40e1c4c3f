// Signals and file descriptors as events of a loop, for main() and for code that watches processes.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>

#include "net/event_loop.h"

namespace infinicache::net {

// Calls `function(signal)` on the loop each time one of `signals` arrives, while the object lives.
class SignalWatch {
 public:
  SignalWatch(EventLoop& loop, std::initializer_list<int> signals,
              std::function<void(int)> function);
  ~SignalWatch();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Calls `function` on the loop each time `fd` is readable or at its end, while the object lives.
// Takes ownership of `fd`. The function must read what is there, or destroy the watch.
class ReadWatch {
 public:
  ReadWatch(EventLoop& loop, int fd, std::function<void()> function);
  ~ReadWatch();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace infinicache::net
