#include "cache/memory_budget.h"

#include "base/check.h"

namespace infinicache::cache {

net::Task<Status> MemoryBudget::Acquire(std::size_t bytes, TimePoint deadline) {
  if (TryAcquire(bytes)) co_return Status{};
  Waiter waiter{bytes, net::Notification(loop_)};
  const auto place = waiters_.insert(waiters_.end(), &waiter);
  while (!waiter.done) {
    if (co_await waiter.granted.Wait(deadline) || waiter.done) continue;
    waiters_.erase(place);
    Grant();
    co_return Fail(ErrorCode::kDeadlineExceeded,
                   "too many requests stream at once: no buffer memory became free");
  }
  co_return Status{};
}

bool MemoryBudget::TryAcquire(std::size_t bytes) {
  if (!waiters_.empty() || !Fits(bytes)) return false;
  used_ += bytes;
  return true;
}

bool MemoryBudget::TryAcquireSpare(std::size_t bytes) {
  return used_ + bytes <= limit_ / 2 && TryAcquire(bytes);
}

void MemoryBudget::Release(std::size_t bytes) {
  CHECK(used_ >= bytes);
  used_ -= bytes;
  Grant();
}

void MemoryBudget::Grant() {
  while (!waiters_.empty() && Fits(waiters_.front()->bytes)) {
    Waiter* waiter = waiters_.front();
    waiters_.pop_front();
    used_ += waiter->bytes;
    waiter->done = true;
    waiter->granted.Notify();
  }
}

}  // namespace infinicache::cache
