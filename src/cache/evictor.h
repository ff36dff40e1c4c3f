// Which committed object leaves next when nodes are full.
//
// Holds what is in the directory in the order of the eviction policy, and those that expire by
// their time. Objects are not held alive by it: each leaves it before the directory lets go of it.
// With `noeviction` it is empty and costs nothing.
//
// A use of an object is ObjectRecord::Use, which needs neither this class nor a lock. Coming and
// going takes one lock for well under a microsecond, Next for the entries that it visits (about
// 50 ns each).
//
// Thread-safety: all members from any thread. Lock order: a shard of the directory, then this.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "base/clock.h"
#include "cache/object.h"
#include "policy/eviction.h"

namespace infinicache::cache {

class Evictor {
 public:
  // Entries that one search looks at, at most.
  static constexpr std::size_t kVisitsMax = 1024;

  explicit Evictor(policy::EvictionPolicy policy) : order_(policy::MakeEvictionOrder(policy)) {}

  bool enabled() const { return order_ != nullptr; }

  // For the directory, with the key's shard locked. `object` is the key's value from now on,
  // `previous`, if any, was it until now and may be gone from the order already.
  void Add(ObjectRecord& object, ObjectRecord* previous);
  void Remove(ObjectRecord& object);
  // The object expires at its expires_at(), which stays as it is until RemoveExpiry.
  void AddExpiry(ObjectRecord& object);
  void RemoveExpiry(ObjectRecord& object);

  // The object that has been expired for longest at `now`; null if none is. It stays until the
  // directory removes it.
  ObjectRef Expired(WallMillis now);

  // Takes the next object to evict out of the order, among those for which `frees` says that their
  // chunks free what is needed. `idle`: only those that nobody reads or repairs at present, as
  // others do not give their memory back at once. Null: none was found within kVisitsMax; a further
  // call looks at others. `frees` runs under the lock and must be quick.
  ObjectRef Next(const std::function<bool(const ObjectRecord&)>& frees, bool idle);

  std::size_t size() const;
  std::uint64_t bytes() const;  // stored on nodes, parity included

 private:
  mutable std::mutex mutex_;
  std::unique_ptr<policy::EvictionOrder> order_;
  std::set<std::pair<WallMillis, ObjectRecord*>> expiring_;
};

}  // namespace infinicache::cache
