#include "node/inventory.h"

#include <algorithm>

#include "wire/inventory.h"

namespace infinicache::node {

void Inventory::TakeSnapshot(const ChunkStore& store, const std::optional<ChunkId>& after) {
  chunks_ = store.Identities();
  std::sort(chunks_.begin(), chunks_.end());
  next_ = after ? static_cast<std::size_t>(
                      std::upper_bound(chunks_.begin(), chunks_.end(), *after) - chunks_.begin())
                : 0;
  newest_ = {};
  for (const ChunkId& chunk : chunks_) newest_ = std::max(newest_, chunk.version);
}

Inventory::Page Inventory::Next(const ChunkStore& store, const std::optional<ChunkId>& after) {
  if (!after || after != last_) TakeSnapshot(store, after);
  Page page;
  page.last = after.value_or(ChunkId{});
  page.newest = newest_;
  for (; next_ < chunks_.size(); ++next_) {
    const auto chunk = store.Find(chunks_[next_]);
    if (chunk == nullptr) continue;
    const std::size_t bytes = wire::InventoryEntryBytes(chunk->meta().key.size());
    if (page.entries.size() + bytes > wire::kFrameMetaBytesMax) break;
    wire::AppendInventoryEntry({chunk->id(), chunk->StoredBytes(), chunk->meta()}, page.entries);
    page.last = chunk->id();
  }
  page.end = next_ == chunks_.size();
  last_ = page.last;
  if (page.end) *this = {};  // the snapshot is of no use any more
  return page;
}

}  // namespace infinicache::node
