// Lists a store's complete chunks to one link, page by page.
//
// The first page takes a snapshot of the identities, in order; each further page goes on behind the
// one that was listed last. Chunks that are removed meanwhile are left out, chunks that come
// meanwhile are not listed: their writer knows them. A request for another place than where the
// last page ended takes a new snapshot, so that a proxy whose link broke can go on.
//
// Thread-safety: none; one event loop. Cost: the snapshot takes 24 bytes per chunk and is sorted at
// once; a page looks at its chunks only. Between pages other requests have their turn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "node/chunk_store.h"

namespace infinicache::node {

class Inventory {
 public:
  struct Page {
    std::string entries;  // at most wire::kFrameMetaBytesMax
    ChunkId last;         // go on behind this one
    bool end = false;     // there is no further page
    Version newest;       // the highest version in the snapshot
  };

  // The chunks behind `after` (empty: from the start).
  Page Next(const ChunkStore& store, const std::optional<ChunkId>& after);

 private:
  void TakeSnapshot(const ChunkStore& store, const std::optional<ChunkId>& after);

  std::vector<ChunkId> chunks_;
  std::size_t next_ = 0;
  std::optional<ChunkId> last_;
  Version newest_;
};

}  // namespace infinicache::node
