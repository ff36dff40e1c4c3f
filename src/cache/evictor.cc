#include "cache/evictor.h"

namespace infinicache::cache {

using policy::EvictionEntry;

void Evictor::Add(ObjectRecord& object, ObjectRecord* previous) {
  if (!enabled()) return;
  const std::uint64_t bytes = object.StoredBytes();
  const std::scoped_lock lock(mutex_);
  if (previous != nullptr) {
    order_->Replace(*previous, object, object.id(), bytes);
  } else {
    order_->Insert(object, object.id(), bytes);
  }
}

void Evictor::Remove(ObjectRecord& object) {
  if (!enabled()) return;
  const std::scoped_lock lock(mutex_);
  order_->Erase(object);
}

void Evictor::AddExpiry(ObjectRecord& object) {
  if (!enabled()) return;
  const std::scoped_lock lock(mutex_);
  expiring_.emplace(object.expires_at(), &object);
}

void Evictor::RemoveExpiry(ObjectRecord& object) {
  if (!enabled()) return;
  const std::scoped_lock lock(mutex_);
  expiring_.erase({object.expires_at(), &object});
}

ObjectRef Evictor::Expired(WallMillis now) {
  const std::scoped_lock lock(mutex_);
  if (expiring_.empty() || expiring_.begin()->first > now) return nullptr;
  return expiring_.begin()->second->shared_from_this();
}

ObjectRef Evictor::Next(const std::function<bool(const ObjectRecord&)>& frees, bool idle) {
  if (!enabled()) return nullptr;
  const auto filter = [&](const EvictionEntry& entry) {
    const auto& object = static_cast<const ObjectRecord&>(entry);
    // The directory has one reference.
    return (!idle || object.weak_from_this().use_count() == 1) && frees(object);
  };
  const std::scoped_lock lock(mutex_);
  EvictionEntry* const victim = order_->Victim(filter, kVisitsMax);
  if (victim == nullptr) return nullptr;
  // An object in the order is in the directory, or its remover waits for our lock.
  return static_cast<ObjectRecord*>(victim)->shared_from_this();
}

std::size_t Evictor::size() const {
  const std::scoped_lock lock(mutex_);
  return enabled() ? order_->size() : 0;
}

std::uint64_t Evictor::bytes() const {
  const std::scoped_lock lock(mutex_);
  return enabled() ? order_->bytes() : 0;
}

}  // namespace infinicache::cache
