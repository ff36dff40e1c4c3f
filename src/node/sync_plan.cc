#include "node/sync_plan.h"

#include <algorithm>
#include <memory>
#include <unordered_map>
#include <utility>

namespace infinicache::node {
namespace {

using Chunks = std::vector<std::shared_ptr<const Chunk>>;

std::vector<ChunkId> ByUse(Chunks chunks) {
  std::sort(chunks.begin(), chunks.end(),
            [](const auto& a, const auto& b) { return a->last_use() > b->last_use(); });
  std::vector<ChunkId> ids;
  ids.reserve(chunks.size());
  for (const auto& chunk : chunks) ids.push_back(chunk->id());
  return ids;
}

}  // namespace

std::optional<SyncPlan> PlanDelta(const ChunkStore& store, std::uint64_t since) {
  auto removed = store.changes().RemovedSince(since);
  if (!removed) return std::nullopt;
  SyncPlan plan;
  plan.sequence = store.changes().last();
  plan.removed = std::move(*removed);
  // What was stored again is sent again.
  std::erase_if(plan.removed, [&](const ChunkId& id) { return store.Find(id) != nullptr; });
  Chunks fresh;
  for (auto& chunk : store.Chunks()) {
    if (chunk->stored_by() > since) {
      fresh.push_back(std::move(chunk));
    } else if (chunk->expiry_set_by() > since) {
      plan.expiries.push_back({chunk->id(), chunk->meta().expires_at_ms});
    }
  }
  plan.chunks = ByUse(std::move(fresh));
  return plan;
}

SyncPlan PlanByComparison(const ChunkStore& store, std::span<const wire::ChunkExpiry> theirs) {
  SyncPlan plan;
  plan.sequence = store.changes().last();
  std::unordered_map<ChunkId, std::int64_t, ChunkIdHash> held;
  held.reserve(theirs.size());
  for (const wire::ChunkExpiry& entry : theirs) {
    held.emplace(entry.chunk, entry.expires_at_ms);
    if (store.Find(entry.chunk) == nullptr) plan.removed.push_back(entry.chunk);
  }
  Chunks fresh;
  for (auto& chunk : store.Chunks()) {
    const auto found = held.find(chunk->id());
    if (found == held.end()) {
      fresh.push_back(std::move(chunk));
    } else if (found->second != chunk->meta().expires_at_ms) {
      plan.expiries.push_back({chunk->id(), chunk->meta().expires_at_ms});
    }
  }
  plan.chunks = ByUse(std::move(fresh));
  return plan;
}

}  // namespace infinicache::node
