// The memory of a node's present instance, mapped into this process once for the links of all
// loops.
//
// Only between processes of one machine, and only for nodes that stand: a chunk in it may be read
// without asking the node for as long as the place in its record is the node's, since a chunk never
// changes, and nobody but this proxy frees any (docs/adr/0018-mapped-reads.md).
//
// Thread-safety: from any thread.
#pragma once

#include <memory>
#include <mutex>

#include "base/shared_memory.h"
#include "wire/node_status.h"

namespace infinicache::pool {

class NodeMemory {
 public:
  // What `status` offers, or null if it offers nothing, or the memory cannot be mapped. It stays
  // mapped as long as somebody holds it.
  std::shared_ptr<const SharedMemory> Map(const wire::NodeStatus& status);

 private:
  std::mutex mutex_;
  InstanceId instance_;  // whose memory `mapped_` is
  std::weak_ptr<const SharedMemory> mapped_;
};

}  // namespace infinicache::pool
