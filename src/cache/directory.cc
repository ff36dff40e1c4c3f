#include "cache/directory.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <utility>

namespace infinicache::cache {

ObjectId HashKey(std::string_view key) {
  return ObjectId(XXH3_64bits(key.data(), key.size()));
}

// The records stay owned: at the end of the process the nodes go too, and nothing is to be freed on
// them.
Directory::~Directory() = default;

Directory::Tree::iterator Directory::Locate(Shard& shard, std::uint64_t hash,
                                            std::string_view key) {
  for (auto [it, end] = shard.objects.equal_range(hash); it != end; ++it) {
    if (it->second->key() == key) return it;
  }
  return shard.objects.end();
}

ObjectRef Directory::Detach(Shard& shard, Tree::iterator where, long others) {
  ObjectRef object = std::move(where->second);
  if (object.use_count() > 1 + others) object->TellDeleted();
  shard.objects.erase(where);
  object->set_owned(false);
  evictor_.Remove(*object);
  size_.fetch_sub(1, std::memory_order_relaxed);
  bytes_.fetch_sub(object->bytes(), std::memory_order_relaxed);
  CountExpiry(*object, -1);
  return object;
}

ObjectRef Directory::DetachExpired(Shard& shard, Tree::iterator where) {
  ObjectRef object = Detach(shard, where);
  gone_.Count(GoneCause::kExpired, 1, object->bytes());
  return object;
}

ObjectRef Directory::Find(std::string_view key) {
  const std::uint64_t hash = HashKey(key).value();
  Shard& shard = ShardOf(hash);
  ObjectRef expired;  // dropped after the lock
  const std::scoped_lock lock(shard.mutex);
  const auto found = Locate(shard, hash, key);
  if (found == shard.objects.end()) return nullptr;
  if (found->second->IsExpired(clock_.WallNow())) {
    expired = DetachExpired(shard, found);
    return nullptr;
  }
  return found->second;
}

Directory::CommitResult Directory::Commit(ObjectRef object, Condition condition, bool keep_expiry) {
  const std::uint64_t hash = object->id().value();
  Shard& shard = ShardOf(hash);
  CommitResult result;
  ObjectRef expired;
  const std::scoped_lock lock(shard.mutex);
  auto found = Locate(shard, hash, object->key());
  if (found != shard.objects.end() && found->second->IsExpired(clock_.WallNow())) {
    expired = DetachExpired(shard, found);
    found = shard.objects.end();
  }
  const bool present = found != shard.objects.end();
  if (present) result.previous = found->second;
  if ((condition == Condition::kIfAbsent && present) ||
      (condition == Condition::kIfPresent && !present))
    return result;
  result.committed = true;
  // Two writes of a key ran at once and the later one is in: this one counts as overwritten by it.
  if (present && found->second->version() > object->version()) return result;
  if (present && keep_expiry) object->set_expires_at(found->second->expires_at());
  object->set_owned(true);
  object->set_used_at(clock_.WallNow());
  evictor_.Add(*object, present ? found->second.get() : nullptr);
  if (present) Detach(shard, found, 1);
  size_.fetch_add(1, std::memory_order_relaxed);
  bytes_.fetch_add(object->bytes(), std::memory_order_relaxed);
  CountExpiry(*object, 1);
  shard.objects.emplace(hash, std::move(object));
  return result;
}

ObjectRef Directory::Remove(std::string_view key) {
  const std::uint64_t hash = HashKey(key).value();
  Shard& shard = ShardOf(hash);
  ObjectRef removed;
  const std::scoped_lock lock(shard.mutex);
  const auto found = Locate(shard, hash, key);
  if (found == shard.objects.end()) return nullptr;
  if (found->second->IsExpired(clock_.WallNow())) {
    removed = DetachExpired(shard, found);
    return nullptr;
  }
  removed = Detach(shard, found);
  return removed;
}

bool Directory::RemoveIfCurrent(const ObjectRef& object) {
  Shard& shard = ShardOf(object->id().value());
  const std::scoped_lock lock(shard.mutex);
  const auto found = Locate(shard, object->id().value(), object->key());
  if (found == shard.objects.end() || found->second != object) return false;
  Detach(shard, found, 1);  // the caller holds a reference, so nothing is freed under the lock
  return true;
}

bool Directory::IsCurrent(const ObjectRef& object) {
  Shard& shard = ShardOf(object->id().value());
  const std::scoped_lock lock(shard.mutex);
  const auto found = Locate(shard, object->id().value(), object->key());
  return found != shard.objects.end() && found->second == object;
}

bool Directory::SetExpiry(const ObjectRef& object, WallMillis when) {
  Shard& shard = ShardOf(object->id().value());
  const std::scoped_lock lock(shard.mutex);
  const auto found = Locate(shard, object->id().value(), object->key());
  if (found == shard.objects.end() || found->second != object) return false;
  CountExpiry(*object, -1);
  object->set_expires_at(when);
  CountExpiry(*object, 1);
  return true;
}

void Directory::CountExpiry(ObjectRecord& object, int by) {
  if (object.expires_at() == ObjectRecord::kNever) return;
  if (by > 0) {
    evictor_.AddExpiry(object);
  } else {
    evictor_.RemoveExpiry(object);
  }
  expiring_.fetch_add(static_cast<std::size_t>(by), std::memory_order_relaxed);
}

std::vector<ObjectRef> Directory::Clear() {
  std::vector<ObjectRef> dropped;
  for (Shard& shard : shards_) {
    const std::scoped_lock lock(shard.mutex);
    while (!shard.objects.empty()) {
      dropped.push_back(Detach(shard, shard.objects.begin()));
      gone_.Count(GoneCause::kFlushed, 1, dropped.back()->bytes());
    }
  }
  return dropped;
}

std::uint64_t Directory::Scan(std::uint64_t cursor, std::size_t count,
                              const std::function<void(const ObjectRef&)>& visit) {
  std::size_t visited = 0;
  const WallMillis now = clock_.WallNow();
  for (std::size_t index = cursor >> (64 - kShardBits); index < shards_.size(); ++index) {
    Shard& shard = shards_[index];
    std::vector<ObjectRef> batch;
    std::uint64_t next = 0;
    {
      const std::scoped_lock lock(shard.mutex);
      auto it = shard.objects.lower_bound(cursor);
      while (it != shard.objects.end() && visited + batch.size() < count) {
        // Keys of one hash go together: the cursor cannot point between them.
        const std::uint64_t hash = it->first;
        for (; it != shard.objects.end() && it->first == hash; ++it) batch.push_back(it->second);
      }
      if (it != shard.objects.end()) next = it->first;
    }
    for (const ObjectRef& object : batch) {
      if (!object->IsExpired(now)) visit(object);
    }
    visited += batch.size();
    if (next != 0) return next;
  }
  return 0;
}

std::uint64_t Directory::RemoveExpired(std::uint64_t cursor, std::size_t count,
                                       std::size_t* removed) {
  std::vector<ObjectRef> expired;
  const WallMillis now = clock_.WallNow();
  std::size_t index = cursor >> (64 - kShardBits);
  Shard& shard = shards_[index];
  std::uint64_t next = 0;
  {
    const std::scoped_lock lock(shard.mutex);
    auto it = shard.objects.lower_bound(cursor);
    for (std::size_t seen = 0; it != shard.objects.end() && seen < count; ++seen) {
      const auto current = it++;
      if (current->second->IsExpired(now)) expired.push_back(DetachExpired(shard, current));
    }
    if (it != shard.objects.end()) next = it->first;
  }
  *removed += expired.size();
  if (next != 0) return next;
  return index + 1 < shards_.size() ? (std::uint64_t{index} + 1) << (64 - kShardBits) : 0;
}

}  // namespace infinicache::cache
