#include "cache/repair_queue.h"

namespace infinicache::cache {

void RepairQueue::Add(const ObjectRef& object) {
  if (!enabled_) return;
  if (object->repair_pending.exchange(true)) {
    MoveForward(object);
    return;
  }
  const RepairNeed need = survey_(*object);
  {
    const std::scoped_lock lock(mutex_);
    const Key key{need.spare, object->used_at(), ++added_};
    ready_.emplace(key, Entry{object, need.missing_bytes});
    keys_.emplace(object.get(), key);
    bytes_ += need.missing_bytes;
  }
  if (wake_) wake_();
}

// It may have lost another chunk. One that is being repaired, or postponed, is looked at again when
// that is over.
void RepairQueue::MoveForward(const ObjectRef& object) {
  const RepairNeed need = survey_(*object);
  const std::scoped_lock lock(mutex_);
  const auto found = keys_.find(object.get());
  if (found == keys_.end() || found->second.spare <= need.spare) return;
  auto node = ready_.extract(found->second);
  node.key().spare = found->second.spare = need.spare;
  bytes_ += need.missing_bytes - node.mapped().bytes;
  node.mapped().bytes = need.missing_bytes;
  ready_.insert(std::move(node));
}

void RepairQueue::AddLater(ObjectRef object, TimePoint now) {
  const std::uint64_t bytes = survey_(*object).missing_bytes;
  const std::scoped_lock lock(mutex_);
  bytes_ += bytes;
  later_.push_back({now + kRetryAfter, {std::move(object), bytes}});
}

ObjectRef RepairQueue::Take(TimePoint now, TimePoint* next) {
  const std::scoped_lock lock(mutex_);
  *next = later_.empty() ? TimePoint::max() : later_.front().due;
  if (!later_.empty() && *next <= now) {
    Entry entry = std::move(later_.front().entry);
    later_.pop_front();
    return Release(std::move(entry));
  }
  if (ready_.empty()) return nullptr;
  auto node = ready_.extract(ready_.begin());
  keys_.erase(node.mapped().object.get());
  return Release(std::move(node.mapped()));
}

ObjectRef RepairQueue::Release(Entry entry) {
  bytes_ -= entry.bytes;
  return std::move(entry.object);
}

Duration RepairQueue::Throttle(std::uint64_t bytes, TimePoint now) {
  const std::scoped_lock lock(mutex_);
  return limit_.Take(bytes, now);
}

std::size_t RepairQueue::size() const {
  const std::scoped_lock lock(mutex_);
  return ready_.size() + later_.size();
}

std::uint64_t RepairQueue::bytes() const {
  const std::scoped_lock lock(mutex_);
  return bytes_;
}

void RepairQueue::Clear() {
  // Dropped after the lock: the last reference to an object frees its chunks.
  std::map<Key, Entry> ready;
  std::deque<Postponed> later;
  const std::scoped_lock lock(mutex_);
  ready.swap(ready_);
  later.swap(later_);
  keys_.clear();
  bytes_ = 0;
}

}  // namespace infinicache::cache
