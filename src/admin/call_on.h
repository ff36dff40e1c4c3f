// Runs a task on another event loop and brings its result back.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "net/event_loop.h"
#include "net/notification.h"
#include "net/task.h"

namespace infinicache::admin {

template <typename T>
struct Delivery {
  explicit Delivery(net::EventLoop& loop) : arrived(loop) {}
  net::Notification arrived;  // both are used on the asking loop only
  std::optional<T> value;
};

template <typename T>
net::Task<> Deliver(net::Task<T> task, std::shared_ptr<Delivery<T>> delivery, net::EventLoop& to) {
  T result = co_await std::move(task);
  to.Post([delivery, result = std::move(result)] {
    delivery->value.emplace(result);
    delivery->arrived.Notify();
  });
}

// Call on loop `from`. Nothing: the loop `on` did not finish `task` by the deadline; it still may,
// so what the task refers to lives as long as that loop runs. REQUIRES: T is copyable; both loops
// outlive the task.
template <typename T>
net::Task<std::optional<T>> CallOn(net::EventLoop& from, net::EventLoop& on, net::Task<T> task,
                                   TimePoint deadline) {
  const auto delivery = std::make_shared<Delivery<T>>(from);
  on.Spawn(Deliver(std::move(task), delivery, from));
  while (!delivery->value) {
    const bool notified = co_await delivery->arrived.Wait(deadline);
    if (!notified) break;
  }
  co_return delivery->value;
}

}  // namespace infinicache::admin
