#include "net/notification.h"

#include <boost/asio/append.hpp>
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
        // Boost 1.81's move assignment copies its argument, without end; swap does not.
        decltype(waiter_)(std::move(handler)).swap(waiter_);
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
  auto handler = std::exchange(waiter_, nullptr);
  boost::asio::post(loop_.context(), boost::asio::append(std::move(handler), notified));
}

}  // namespace infinicache::net
