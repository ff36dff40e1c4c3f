#include "node/change_log.h"

#include <algorithm>

namespace infinicache::node {

void ChangeLog::NoteRemoved(const ChunkId& chunk) {
  if (removals_.size() == kRemovalsMax) {
    forgotten_ = removals_.front().sequence;
    removals_.pop_front();
  }
  removals_.push_back({Next(), chunk});
}

std::optional<std::vector<ChunkId>> ChangeLog::RemovedSince(std::uint64_t sequence) const {
  if (sequence < forgotten_ || sequence > last_) return std::nullopt;
  const auto begin = std::upper_bound(
      removals_.begin(), removals_.end(), sequence,
      [](std::uint64_t number, const Removal& removal) { return number < removal.sequence; });
  std::vector<ChunkId> chunks;
  chunks.reserve(static_cast<std::size_t>(removals_.end() - begin));
  for (auto removal = begin; removal != removals_.end(); ++removal)
    chunks.push_back(removal->chunk);
  return chunks;
}

}  // namespace infinicache::node
