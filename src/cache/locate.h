// Asks nodes where chunks of an object are in their memory, and notes it in the object's map.
//
// Only links whose memory is mapped are asked, and only answers that lie within it and agree with
// the object's layout are taken. Waits for them about as long as a reader does before it asks
// another node; what has not come then stays unknown.
//
// Thread-safety: one event loop, the worker's. Cost: a message to each node and back.
#pragma once

#include <cstdint>

#include "cache/object.h"
#include "cache/worker.h"
#include "net/task.h"

namespace infinicache::cache {

// `chunks`: a bit for each. REQUIRES: `record` outlives the call.
net::Task<> Locate(Worker& worker, const ObjectRef& record, std::uint64_t chunks);

}  // namespace infinicache::cache
