// Which nodes receive an object's chunks.
//
// A pure function of what is known about the nodes and of a random source. Distinct nodes are drawn
// with probability proportional to their free bytes (weighted sampling without replacement,
// Efraimidis and Spirakis, 2006: the k largest u^(1/w)), so that nodes fill evenly and no burst of
// writes goes to the emptiest one. O(nodes).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/random.h"

namespace infinicache::policy {

struct NodeForPlacement {
  NodeId node;
  std::uint64_t free_bytes = 0;
  bool usable = false;  // linked, and not suspected to hang
};

// Draws `count` distinct usable nodes that each have `chunk_bytes` free. Returns fewer if there are
// no more; the caller decides whether that is enough.
std::vector<NodeId> ChooseNodes(std::span<const NodeForPlacement> nodes, std::size_t count,
                                std::uint64_t chunk_bytes, Random& random);

}  // namespace infinicache::policy
