#include "policy/eviction.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"

namespace infinicache::policy {
namespace {

constexpr std::array<std::pair<EvictionPolicy, std::string_view>, 3> kNames = {{
    {EvictionPolicy::kNone, "noeviction"},
    {EvictionPolicy::kClock, "allkeys-clock"},
    {EvictionPolicy::kS3Fifo, "allkeys-s3fifo"},
}};

}  // namespace

std::string_view EvictionPolicyName(EvictionPolicy policy) {
  return kNames.at(static_cast<std::size_t>(policy)).second;
}

std::optional<EvictionPolicy> ParseEvictionPolicy(std::string_view name) {
  for (const auto& [policy, text] : kNames) {
    if (text == name) return policy;
  }
  return std::nullopt;
}

void EvictionRing::Add(EvictionEntry& entry) {
  CHECK(!entry.InOrder());
  if (hand_ == nullptr) {
    hand_ = entry.next_ = entry.previous_ = &entry;
  } else {
    entry.next_ = hand_;
    entry.previous_ = hand_->previous_;
    entry.previous_->next_ = &entry;
    hand_->previous_ = &entry;
  }
  ++size_;
  bytes_ += entry.bytes_;
}

void EvictionRing::Remove(EvictionEntry& entry) {
  CHECK(size_ > 0);
  if (hand_ == &entry) hand_ = size_ == 1 ? nullptr : entry.next_;
  entry.previous_->next_ = entry.next_;
  entry.next_->previous_ = entry.previous_;
  entry.next_ = entry.previous_ = nullptr;
  --size_;
  bytes_ -= entry.bytes_;
}

void GhostQueue::Add(ObjectId id, std::uint64_t bytes) {
  Take(id);
  queue_.push_back({id, bytes, ++last_number_});
  current_[id] = last_number_;
  bytes_ += bytes;
}

bool GhostQueue::Take(ObjectId id) {
  const auto found = current_.find(id);
  if (found == current_.end()) return false;
  // Numbers in the queue increase without gaps.
  Ghost& ghost = queue_[found->second - queue_.front().number];
  bytes_ -= std::exchange(ghost.bytes, 0);
  current_.erase(found);
  return true;
}

void GhostQueue::Shrink(std::uint64_t bytes_max, std::size_t count_max) {
  while (!queue_.empty()) {
    const Ghost& oldest = queue_.front();
    const auto found = current_.find(oldest.id);
    const bool current = found != current_.end() && found->second == oldest.number;
    // Taken ones also go when they have become the larger part of the queue's memory.
    if (current && bytes_ <= bytes_max && current_.size() <= count_max &&
        queue_.size() <= 2 * count_max)
      return;
    if (current) Take(oldest.id);
    queue_.pop_front();
  }
}

void ClockOrder::Insert(EvictionEntry& entry, ObjectId id, std::uint64_t bytes) {
  entry.id_ = id;
  entry.bytes_ = bytes;
  ring_.Add(entry);
}

void ClockOrder::Replace(EvictionEntry& old, EvictionEntry& fresh, ObjectId id,
                         std::uint64_t bytes) {
  Erase(old);
  fresh.Touch();
  Insert(fresh, id, bytes);
}

void ClockOrder::Erase(EvictionEntry& entry) {
  if (entry.InOrder()) ring_.Remove(entry);
}

EvictionEntry* ClockOrder::Victim(const Filter& filter, std::size_t visits_max) {
  EvictionEntry* used = nullptr;
  // The second round finds what the first has passed.
  std::size_t visits = std::min(visits_max, 2 * ring_.size());
  for (; visits > 0; --visits) {
    EvictionEntry* const entry = ring_.hand();
    ring_.Advance();
    if (!filter(*entry)) continue;
    if (entry->uses() == 0) {
      ring_.Remove(*entry);
      return entry;
    }
    if (used == nullptr) used = entry;
    entry->set_uses(0);
  }
  if (used != nullptr) ring_.Remove(*used);
  return used;
}

// What one call of Victim has looked at so far.
struct S3FifoOrder::Search {
  const Filter& filter;
  std::size_t visits_left;
  EvictionEntry* least_used = nullptr;
  std::uint8_t least_uses = 0;
};

void S3FifoOrder::Add(EvictionEntry& entry, ObjectId id, std::uint64_t bytes, bool to_main) {
  entry.id_ = id;
  entry.bytes_ = bytes;
  entry.in_main_ = to_main;
  (to_main ? main_ : small_).Add(entry);
}

void S3FifoOrder::Insert(EvictionEntry& entry, ObjectId id, std::uint64_t bytes) {
  Add(entry, id, bytes, ghosts_.Take(id));
}

void S3FifoOrder::Replace(EvictionEntry& old, EvictionEntry& fresh, ObjectId id,
                          std::uint64_t bytes) {
  if (!old.InOrder()) {
    Insert(fresh, id, bytes);
    return;
  }
  fresh.set_uses(old.uses());
  fresh.Touch();
  const bool in_main = old.in_main_;
  Erase(old);
  Add(fresh, id, bytes, in_main);
}

void S3FifoOrder::Erase(EvictionEntry& entry) {
  if (entry.InOrder()) (entry.in_main_ ? main_ : small_).Remove(entry);
}

EvictionEntry* S3FifoOrder::Victim(const Filter& filter, std::size_t visits_max) {
  Search search{filter, visits_max};
  const bool small_first = small_.bytes() * kSmallShare >= bytes();
  EvictionEntry* victim = small_first ? FromSmall(search) : FromMain(search);
  if (victim == nullptr) victim = small_first ? FromMain(search) : FromSmall(search);
  if (victim == nullptr) victim = search.least_used;
  return victim == nullptr ? nullptr : Take(victim);
}

EvictionEntry* S3FifoOrder::FromSmall(Search& search) {
  for (std::size_t left = small_.size(); left > 0 && search.visits_left > 0; --left) {
    --search.visits_left;
    EvictionEntry* const entry = small_.hand();
    if (entry->uses() >= kPromotingUses) {
      small_.Remove(*entry);
      entry->set_uses(0);
      Add(*entry, entry->id_, entry->bytes_, true);
      continue;
    }
    small_.Advance();
    if (search.filter(*entry)) return entry;
  }
  return nullptr;
}

EvictionEntry* S3FifoOrder::FromMain(Search& search) {
  const std::size_t rounds = EvictionEntry::kUsesMax + 1;
  for (std::size_t left = rounds * main_.size(); left > 0 && search.visits_left > 0; --left) {
    --search.visits_left;
    EvictionEntry* const entry = main_.hand();
    main_.Advance();
    if (!search.filter(*entry)) continue;
    const std::uint8_t uses = entry->uses();
    if (uses == 0) return entry;
    if (search.least_used == nullptr || uses < search.least_uses) {
      search.least_used = entry;
      search.least_uses = uses;
    }
    entry->set_uses(uses - 1);
  }
  return nullptr;
}

EvictionEntry* S3FifoOrder::Take(EvictionEntry* entry) {
  const bool from_small = !entry->in_main_;
  Erase(*entry);
  if (from_small) {
    ghosts_.Add(entry->id_, entry->bytes_);
    // As many bytes as the main queue may hold.
    ghosts_.Shrink(bytes() - bytes() / kSmallShare, std::max(size(), kGhostsAtLeast));
  }
  return entry;
}

std::unique_ptr<EvictionOrder> MakeEvictionOrder(EvictionPolicy policy) {
  switch (policy) {
    case EvictionPolicy::kNone:
      return nullptr;
    case EvictionPolicy::kClock:
      return std::make_unique<ClockOrder>();
    case EvictionPolicy::kS3Fifo:
      return std::make_unique<S3FifoOrder>();
  }
  return nullptr;
}

}  // namespace infinicache::policy
