// For tests: runs tasks on an event loop of the test's own thread, and makes connected sockets.
//
//   EventLoop loop("test");
//   Started<Status> read(loop, peer.ReadAll(buffer));        // runs whenever the loop does
//   const Status sent = RunTask(loop, socket.WriteAll(pieces));
//   EXPECT_TRUE(read.Get());
//
// A loop that is run this way needs no thread and no Stop: its handlers run while one of these
// functions waits, and at no other time, so a test decides what happens before what.
//
// Every wait ends after kTestPatience by stopping the program with the place that waited: a test
// may fail, but it never hangs.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/clock.h"
#include "base/result.h"
#include "net/event_loop.h"
#include "net/socket.h"
#include "net/task.h"

namespace infinicache::net {

// Long enough for a loaded machine and a sanitizer; what goes well never takes it.
inline constexpr std::chrono::seconds kTestPatience{60};

inline TimePoint TestDeadline() {
  return EventLoop::Now() + kTestPatience;
}

// Runs `loop` until `done()`, which is asked after each handler.
inline void RunUntil(EventLoop& loop, const std::function<bool()>& done,
                     std::source_location place = std::source_location::current()) {
  const TimePoint deadline = TestDeadline();
  while (!done()) {
    CHECK(EventLoop::Now() < deadline, "waited in vain at {}:{}", place.file_name(), place.line());
    loop.context().run_one_until(deadline);
  }
}

// Runs what is ready now, and what that makes ready, without waiting.
inline void RunReady(EventLoop& loop) {
  loop.context().poll();
}

// Runs `loop` until every task that was spawned on it has ended.
inline void RunToEnd(EventLoop& loop,
                     std::source_location place = std::source_location::current()) {
  RunReady(loop);
  RunUntil(loop, [&] { return loop.active_tasks() == 0; }, place);
}

// A task that was started on a loop. May be dropped before the task ends; what the task refers to
// must live until then.
template <typename T>
class Started {
 public:
  Started(EventLoop& loop, Task<T> task) : loop_(loop) {
    loop.Spawn(Keep(std::move(task), value_));
  }

  bool done() const { return value_->has_value(); }
  // Runs the loop until the task has ended; its result. Once.
  T Get(std::source_location place = std::source_location::current()) {
    RunUntil(loop_, [this] { return done(); }, place);
    return std::move(**value_);
  }

 private:
  static Task<> Keep(Task<T> task, std::shared_ptr<std::optional<T>> value) {
    value->emplace(co_await std::move(task));
  }

  EventLoop& loop_;
  std::shared_ptr<std::optional<T>> value_ = std::make_shared<std::optional<T>>();
};

template <typename T>
T RunTask(EventLoop& loop, Task<T> task,
          std::source_location place = std::source_location::current()) {
  return Started<T>(loop, std::move(task)).Get(place);
}

inline Task<std::monostate> WithValue(Task<> task) {
  co_await std::move(task);
  co_return std::monostate{};
}

inline void RunTask(EventLoop& loop, Task<> task,
                    std::source_location place = std::source_location::current()) {
  Started<std::monostate>(loop, WithValue(std::move(task))).Get(place);
}

// Two ends of one connection over the loopback interface.
struct SocketPair {
  Socket dialer;
  Socket acceptor;
};

inline SocketPair ConnectedPair(EventLoop& loop, const SocketOptions& options = {}) {
  Listener listener(loop);
  const Status listening = listener.Listen({"127.0.0.1", 0});
  CHECK(listening, "{}", listening.error().message);
  const HostPort address = listener.address();
  Started<Result<Socket>> accepting(loop, listener.Accept(loop));
  auto dialled = RunTask(loop, Socket::Connect(loop, address, options, TestDeadline()));
  CHECK(dialled, "{}", dialled.error().message);
  auto accepted = accepting.Get();
  CHECK(accepted, "{}", accepted.error().message);
  accepted->Configure(options);
  return {std::move(*dialled), std::move(*accepted)};
}

}  // namespace infinicache::net
