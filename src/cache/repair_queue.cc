#include "cache/repair_queue.h"

namespace infinicache::cache {

void RepairQueue::Add(const ObjectRef& object) {
  if (!enabled_ || object->repair_pending.exchange(true)) return;
  {
    const std::scoped_lock lock(mutex_);
    ready_.push_back(object);
  }
  if (wake_) wake_();
}

void RepairQueue::AddLater(ObjectRef object, TimePoint now) {
  const std::scoped_lock lock(mutex_);
  later_.emplace_back(now + kRetryAfter, std::move(object));
}

ObjectRef RepairQueue::Take(TimePoint now, TimePoint* next) {
  const std::scoped_lock lock(mutex_);
  *next = later_.empty() ? TimePoint::max() : later_.front().first;
  if (!later_.empty() && *next <= now) {
    ObjectRef object = std::move(later_.front().second);
    later_.pop_front();
    return object;
  }
  if (ready_.empty()) return nullptr;
  ObjectRef object = std::move(ready_.front());
  ready_.pop_front();
  return object;
}

std::size_t RepairQueue::size() const {
  const std::scoped_lock lock(mutex_);
  return ready_.size() + later_.size();
}

void RepairQueue::Clear() {
  std::deque<ObjectRef> ready;
  std::deque<std::pair<TimePoint, ObjectRef>> later;
  const std::scoped_lock lock(mutex_);
  ready.swap(ready_);
  later.swap(later_);
}

}  // namespace infinicache::cache
