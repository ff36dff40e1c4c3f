// Bounds the memory of the requests that stream through one event loop.
//
// A request needs one row of strips to make progress and is faster with several. It waits (in order
// of arrival) for its first row, and takes further ones only while there is room, so that many slow
// clients share a fixed amount of memory instead of each taking its window.
//
// Thread-safety: none; one event loop.
#pragma once

#include <cstddef>
#include <list>

#include "base/clock.h"
#include "base/result.h"
#include "net/notification.h"
#include "net/task.h"

namespace infinicache::cache {

class MemoryBudget {
 public:
  MemoryBudget(net::EventLoop& loop, std::size_t limit_bytes) : loop_(loop), limit_(limit_bytes) {}

  // Waits until `bytes` are free. A request larger than the whole budget is granted when nothing
  // else is. Errors: kDeadlineExceeded.
  net::Task<Status> Acquire(std::size_t bytes, TimePoint deadline);
  // Takes `bytes` if they are free and nobody waits.
  bool TryAcquire(std::size_t bytes);
  // The same, for what makes a request faster but is not needed: at most half of the budget goes to
  // such uses, so that slow clients cannot keep others from their first row.
  bool TryAcquireSpare(std::size_t bytes);
  // Takes `bytes` in any case, for a rare and short need that must not wait.
  void ForceAcquire(std::size_t bytes) { used_ += bytes; }
  void Release(std::size_t bytes);

  std::size_t used() const { return used_; }
  std::size_t limit() const { return limit_; }

 private:
  struct Waiter {
    std::size_t bytes;
    net::Notification granted;
    bool done = false;
  };

  bool Fits(std::size_t bytes) const { return used_ == 0 || used_ + bytes <= limit_; }
  void Grant();

  net::EventLoop& loop_;
  std::size_t limit_;
  std::size_t used_ = 0;
  std::list<Waiter*> waiters_;
};

}  // namespace infinicache::cache
