// One thread's event loop: the owner of connections, links, timers and the requests that use them.
//
// Everything created on a loop belongs to it and is touched by its thread only; other threads reach
// it through Post. Deadlines of waiting coroutines (net/notification.h) share one coarse timer that
// ticks every kTick while anybody waits, so that a deadline costs no system call of its own; an
// idle loop does not tick at all.
//
// Thread-safety: Post and Stop from any thread; all else on the loop's thread, or before Run.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/result.h"
#include "net/task.h"

namespace infinicache::net {

class Notification;

class EventLoop {
 public:
  // Resolution of deadlines.
  static constexpr std::chrono::milliseconds kTick{5};

  explicit EventLoop(std::string name);
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  // REQUIRES: no thread runs the loop.
  ~EventLoop();

  // Runs on the calling thread until Stop.
  void Run();
  // Runs on a thread of its own; Join waits for its end.
  void Start();
  void Join();
  void Stop();

  // Runs `function` on the loop's thread, later.
  void Post(std::function<void()> function);
  // Starts `task` on the loop's thread. Call from any thread. active_tasks counts it until it ends.
  void Spawn(Task<> task);
  std::size_t active_tasks() const { return active_tasks_; }

  // Suspends for at least `duration`.
  Task<> Sleep(Duration duration);

  boost::asio::io_context& context() { return context_; }
  const std::string& name() const { return name_; }
  static TimePoint Now() { return std::chrono::steady_clock::now(); }

 private:
  friend class Notification;

  Task<> RunTracked(Task<> task);
  void AddWaiter(Notification& waiter);
  void RemoveWaiter(Notification& waiter);
  void ArmTick();
  void OnTick();

  std::string name_;
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  SteadyTimer tick_;
  bool tick_armed_ = false;
  Notification* waiters_ = nullptr;  // intrusive doubly linked list of those with a deadline
  std::size_t active_tasks_ = 0;
  std::thread thread_;
};

}  // namespace infinicache::net
