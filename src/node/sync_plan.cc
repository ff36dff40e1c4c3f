#include "node/sync_plan.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace infinicache::node {
namespace {

void OrderByUse(SyncPlan& plan) {
  std::sort(plan.chunks.begin(), plan.chunks.end(),
            [](const auto& a, const auto& b) { return a->last_use() > b->last_use(); });
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
  for (auto& chunk : store.Chunks()) {
    if (chunk->stored_by() > since) {
      plan.chunks.push_back(std::move(chunk));
    } else if (chunk->expiry_set_by() > since) {
      plan.expiries.push_back({chunk->id(), chunk->meta().expires_at_ms});
    }
  }
  OrderByUse(plan);
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
  for (auto& chunk : store.Chunks()) {
    const auto found = held.find(chunk->id());
    if (found == held.end()) {
      plan.chunks.push_back(std::move(chunk));
    } else if (found->second != chunk->meta().expires_at_ms) {
      plan.expiries.push_back({chunk->id(), chunk->meta().expires_at_ms});
    }
  }
  OrderByUse(plan);
  return plan;
}

}  // namespace infinicache::node
