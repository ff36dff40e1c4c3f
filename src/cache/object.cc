#include "cache/object.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/limits.h"
#include "wire/inventory.h"

namespace infinicache::cache {
namespace {

std::uint64_t Pack(pool::Place place) {
  return std::uint64_t{place.epoch.value()} << 32 | place.node.value();
}

// Marks of a place that was cleared; node numbers are far below.
constexpr std::uint64_t kCleared = std::uint64_t{1} << 31;
constexpr std::uint64_t kCorrupt = std::uint64_t{1} << 30;
static_assert(kNodesMax < kCorrupt);

pool::Place Unpack(std::uint64_t packed) {
  return {NodeId(static_cast<std::uint32_t>(packed & (kCorrupt - 1))),
          pool::Epoch(static_cast<std::uint32_t>(packed >> 32))};
}

}  // namespace

std::size_t ChunksToCommit(coding::Code code, std::size_t parity_min) {
  return code.data + (code.parity > 1 ? std::min<std::size_t>(parity_min, code.parity) : 0);
}

ObjectRecord::ObjectRecord(std::string key, ObjectId id, Version version,
                           coding::StripeLayout layout, std::shared_ptr<ChunkReclaimer> reclaimer)
    : key_(std::move(key)),
      id_(id),
      version_(version),
      layout_(layout),
      reclaimer_(std::move(reclaimer)),
      places_(layout.code.width()) {}

ObjectRecord::~ObjectRecord() {
  const std::unique_ptr<const ObjectMap> map(map_.load(std::memory_order_acquire));
  if (owned_.load(std::memory_order_acquire)) return;
  for (std::size_t i = 0; i < width(); ++i) {
    if (const pool::Place where = place(i); !where.IsNowhere())
      reclaimer_->Reclaim(where, chunk(i));
  }
}

void ObjectRecord::set_map(std::unique_ptr<ObjectMap> map) {
  ObjectMap* const present = map.release();
  present->former.reset(map_.exchange(present, std::memory_order_acq_rel));
}

void ObjectRecord::TellExpiry(WallMillis expires_at, std::size_t chunks) const {
  for (std::size_t i = 0; i < width() && chunks > 0; ++i) {
    const pool::Place where = place(i);
    if (where.IsNowhere()) continue;
    reclaimer_->SetExpiry(where, chunk(i), expires_at);
    --chunks;
  }
}

void ObjectRecord::TellDeleted() const {
  TellExpiry(wire::kDeletedMark, layout_.code.parity + std::size_t{1});
}

std::uint64_t ObjectRecord::StoredBytes(std::size_t index) const {
  const std::uint64_t bytes = layout_.ChunkBytes(index);
  const std::uint64_t full_strips = bytes / layout_.strip_bytes;
  return kChunkOverheadBytes + key_.size() +
         full_strips * RoundUp(layout_.strip_bytes, kStripBlockBytes) +
         RoundUp(bytes % layout_.strip_bytes, kStripBlockBytes);
}

std::uint64_t ObjectRecord::StoredBytes() const {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < width(); ++i) sum += StoredBytes(i);
  return sum;
}

pool::Place ObjectRecord::place(std::size_t index) const {
  const std::uint64_t packed = places_[index].load(std::memory_order_acquire);
  return (packed & kCleared) != 0 ? pool::Place{} : Unpack(packed);
}

pool::Place ObjectRecord::last_place(std::size_t index) const {
  return Unpack(places_[index].load(std::memory_order_acquire));
}

bool ObjectRecord::was_corrupt(std::size_t index) const {
  return (places_[index].load(std::memory_order_acquire) & kCorrupt) != 0;
}

void ObjectRecord::set_place(std::size_t index, pool::Place place) {
  places_[index].store(Pack(place), std::memory_order_release);
}

bool ObjectRecord::MovePlace(std::size_t index, pool::Place expected, pool::Place place) {
  std::uint64_t packed = places_[index].load(std::memory_order_acquire);
  while (Unpack(packed) == expected) {
    if (places_[index].compare_exchange_weak(packed, Pack(place), std::memory_order_acq_rel))
      return true;
  }
  return false;
}

void ObjectRecord::ClearPlace(std::size_t index, pool::Place expected) {
  std::uint64_t packed = Pack(expected);
  places_[index].compare_exchange_strong(packed, packed | kCleared, std::memory_order_acq_rel);
}

void ObjectRecord::ClearCorrupt(std::size_t index, pool::Place expected) {
  std::uint64_t packed = Pack(expected);
  places_[index].compare_exchange_strong(packed, packed | kCleared | kCorrupt,
                                         std::memory_order_acq_rel);
}

}  // namespace infinicache::cache
