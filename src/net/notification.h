// A coroutine's wake-up call, with a deadline.
//
//   while (!done) {
//     if (!co_await notification.Wait(deadline)) co_return Fail(ErrorCode::kDeadlineExceeded, "…");
//   }
//
// One coroutine waits at a time. Notify is remembered if nobody waits: the next Wait returns at
// once. Several notifies before the waiter runs count as one, so the waiter re-checks its
// condition.
//
// Thread-safety: on one loop only. Cost: no system call; a deadline is checked every
// EventLoop::kTick.
#pragma once

#include <boost/asio/async_result.hpp>
#include <optional>
#include <type_traits>

#include "base/clock.h"
#include "net/event_loop.h"
#include "net/task.h"

namespace infinicache::net {

class Notification {
 public:
  explicit Notification(EventLoop& loop) : loop_(loop) {}
  Notification(const Notification&) = delete;
  Notification& operator=(const Notification&) = delete;
  // REQUIRES: nobody waits, unless the loop has ended.
  ~Notification();

  void Notify();

  // True: notified. False: `deadline` passed first. TimePoint::max() waits without a deadline.
  Task<bool> Wait(TimePoint deadline);

 private:
  friend class EventLoop;
  // The suspended coroutine. Of its own type, not erased: erasure costs a memory block per wait.
  using Waiter = boost::asio::async_result<std::remove_const_t<decltype(kUseAwaitable)>,
                                           void(bool)>::handler_type;

  // Resumes the waiter (through the loop's queue) with `notified`.
  void Complete(bool notified);

  EventLoop& loop_;
  std::optional<Waiter> waiter_;
  TimePoint deadline_{};
  bool has_deadline_ = false;
  bool pending_ = false;
  bool resuming_ = false;  // a notified waiter is in the loop's queue
  Notification* next_ = nullptr;
  Notification* previous_ = nullptr;
};

}  // namespace infinicache::net
