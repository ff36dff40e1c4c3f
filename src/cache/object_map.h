// Where an object's chunks lie in the memory of their nodes, as far as that is known here.
//
// An ObjectRecord has at most one that counts, and replaces it by a larger one when more is known,
// or a chunk has another place. Readers may still use the former one, so the record keeps it to its
// own end: they are few, since only repair moves chunks.
//
// Thread-safety: immutable once a record has it.
#pragma once

#include <memory>
#include <vector>

#include "pool/node_state.h"
#include "wire/chunk_location.h"

namespace infinicache::cache {

struct ObjectMap {
  struct Chunk {
    pool::Place place;  // whose memory it is; nowhere: not known
    std::shared_ptr<const wire::ChunkLocation> location;
  };

  std::vector<Chunk> chunks;
  std::unique_ptr<const ObjectMap> former;
};

}  // namespace infinicache::cache
