// Flips a bit of a stored chunk, for tests of what reads and repair make of it. Nodes obey only if
// they were started with test hooks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "cache/object.h"
#include "cache/worker.h"
#include "net/task.h"

namespace infinicache::admin {

// The query of POST /api/v1/test/corrupt.
struct CorruptRequest {
  std::string key;
  std::size_t chunk = 0;
  std::uint64_t byte = 0;  // of the chunk

  friend bool operator==(const CorruptRequest&, const CorruptRequest&) = default;
};

// `chunk` and `byte` default to 0. Errors: kInvalidArgument, naming the parameter.
Result<CorruptRequest> ParseCorruptRequest(const std::map<std::string, std::string>& query);

// Asks the node at `place`. Call on the worker's loop. Errors: kUnavailable (no link to the node,
// or it broke), kNotFound (no such chunk or byte there, or the node has no test hooks),
// kDeadlineExceeded.
net::Task<Status> FlipBitOnNode(cache::Worker& worker, pool::Place place, ChunkId chunk,
                                std::uint64_t byte, TimePoint deadline);

}  // namespace infinicache::admin
