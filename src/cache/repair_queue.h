// Objects that lack chunks, waiting for repair.
//
// Added from any thread, at most once each (ObjectRecord::repair_pending); taken by the workers'
// repair tasks. An object that cannot be repaired yet (no node has room, or too few can be reached)
// comes back after kRetryAfter.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "cache/object.h"

namespace infinicache::cache {

class RepairQueue {
 public:
  static constexpr Duration kRetryAfter = std::chrono::milliseconds(500);

  // With `enabled` false Add does nothing.
  explicit RepairQueue(bool enabled) : enabled_(enabled) {}

  // `wake` is called, from the adding thread, when there is something to take.
  void set_wake(std::function<void()> wake) { wake_ = std::move(wake); }

  void Add(const ObjectRef& object);
  // Puts back one that was taken, for later.
  void AddLater(ObjectRef object, TimePoint now);
  // The next object, or null. `*next` is when a later one is due (max() if none).
  ObjectRef Take(TimePoint now, TimePoint* next);

  // Objects that wait. From any thread.
  std::size_t size() const;
  void Clear();

 private:
  const bool enabled_;
  std::function<void()> wake_;
  mutable std::mutex mutex_;
  std::deque<ObjectRef> ready_;
  std::deque<std::pair<TimePoint, ObjectRef>> later_;  // by time
};

}  // namespace infinicache::cache
