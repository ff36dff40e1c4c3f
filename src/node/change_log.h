// The order of what happens to a store: every change has a number, and what was removed is
// remembered for a while, so that a copy which has all changes up to one number can be told what it
// lacks.
//
// What a chunk that is there was last changed by is kept with the chunk. A removed one leaves an
// entry here; of these the last kRemovalsMax are kept (2 MiB), and who lacks older ones has to
// compare identities.
//
// Thread-safety: none; one event loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/ids.h"

namespace infinicache::node {

class ChangeLog {
 public:
  static constexpr std::size_t kRemovalsMax = 65536;

  // The number of a change that happens now; 1 is the first.
  std::uint64_t Next() { return ++last_; }
  void NoteRemoved(const ChunkId& chunk);

  // Of the newest change.
  std::uint64_t last() const { return last_; }
  // What was removed after change `sequence`, in order; nothing if that is not known any more, or
  // not known yet.
  std::optional<std::vector<ChunkId>> RemovedSince(std::uint64_t sequence) const;

 private:
  struct Removal {
    std::uint64_t sequence;
    ChunkId chunk;
  };

  std::uint64_t last_ = 0;
  std::uint64_t forgotten_ = 0;  // removals up to this one may be missing
  std::deque<Removal> removals_;
};

}  // namespace infinicache::node
