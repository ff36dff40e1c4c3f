// For tests: a reclaimer that keeps what it is told, and records without nodes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cache/object.h"

namespace infinicache::cache {

class ReclaimerForTest final : public ChunkReclaimer {
 public:
  void Reclaim(pool::Place place, const ChunkId& chunk) override {
    reclaimed.emplace_back(place, chunk);
  }
  void SetExpiry(pool::Place place, const ChunkId& chunk, WallMillis expires_at) override {
    expiries.push_back({place, chunk, expires_at});
  }
  void Flush() override {}
  std::size_t pending() const override { return 0; }

  struct Expiry {
    pool::Place place;
    ChunkId chunk;
    WallMillis expires_at;
  };
  std::vector<std::pair<pool::Place, ChunkId>> reclaimed;
  std::vector<Expiry> expiries;
};

// A record of code 2+1 whose chunks are nowhere.
inline ObjectRef RecordForTest(std::string key, ObjectId id, Version version, std::uint64_t bytes,
                               std::shared_ptr<ChunkReclaimer> reclaimer) {
  return std::make_shared<ObjectRecord>(
      std::move(key), id, version, coding::StripeLayout::For(bytes, {2, 1}), std::move(reclaimer));
}

}  // namespace infinicache::cache
