// What a copy of a store lacks: what was removed, what expires at another time, what is new.
//
// A delta knows up to which change the copy is current, and holds what was changed since; a
// comparison knows the identities of all that the copy has. New chunks come in the order of their
// last use, the latest first: a copy that is cut short has what is wanted most. They are named and
// not held, so that what is removed before it is sent gives its memory back.
//
// Pure. Cost: one pass over the store's chunks (about 50 ns each), and a sort of those that are
// new.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "node/chunk_store.h"
#include "wire/inventory.h"

namespace infinicache::node {

struct SyncPlan {
  std::uint64_t sequence = 0;  // the copy is current up to here when all is done
  std::vector<ChunkId> removed;
  std::vector<wire::ChunkExpiry> expiries;  // of chunks that the copy has
  std::vector<ChunkId> chunks;
};

// For a copy that has all changes up to `since`. Nothing if the log does not reach back so far.
std::optional<SyncPlan> PlanDelta(const ChunkStore& store, std::uint64_t since);
// For a copy that has `theirs`.
SyncPlan PlanByComparison(const ChunkStore& store, std::span<const wire::ChunkExpiry> theirs);

}  // namespace infinicache::node
