#include "net/notification.h"

#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "base/check.h"

namespace infinicache::net {

Notification::~Notification() {
  if (waiter_ && has_deadline_) loop_.RemoveWaiter(*this);
}

void Notification::Notify() {
  if (waiter_) {
    Complete(true);
  } else if (!resuming_) {
    pending_ = true;
  }
}

Task<bool> Notification::Wait(TimePoint deadline) {
  if (pending_) {
    pending_ = false;
    co_return true;
  }
  if (deadline <= EventLoop::Now()) co_return false;
  const bool notified = co_await boost::asio::async_initiate<decltype(kUseAwaitable), void(bool)>(
      [this, deadline](auto handler) {
        CHECK(!waiter_, "two coroutines wait on one notification");
        waiter_.emplace(std::move(handler));
        deadline_ = deadline;
        has_deadline_ = deadline != TimePoint::max();
        if (has_deadline_) loop_.AddWaiter(*this);
      },
      kUseAwaitable);
  resuming_ = false;
  co_return notified;
}

void Notification::Complete(bool notified) {
  resuming_ = notified;
  if (has_deadline_) loop_.RemoveWaiter(*this);
  has_deadline_ = false;
  // In a function of its own the waiter has no executor that post() would keep busy, and go
  // through.
  boost::asio::post(loop_.context(), [waiter = std::move(*waiter_), notified]() mutable {
    std::move(waiter)(notified);
  });
  waiter_.reset();
}

}  // namespace infinicache::net
