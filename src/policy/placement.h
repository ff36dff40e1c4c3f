// Which nodes receive an object's chunks.
//
// A pure function of what is known about the nodes and of a random source. Distinct nodes are drawn
// with probability proportional to their free bytes (weighted sampling without replacement,
// Efraimidis and Spirakis, 2006: the k largest u^(1/w)), so that nodes fill evenly and no burst of
// writes goes to the emptiest one. Nodes of hosts that hold fewest of the object's chunks come
// first, in that order, since a host takes all its nodes with it, and they share its network.
// O(nodes + chosen log nodes) where every node has a host of its own.
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
  std::uint32_t host = 0;
};

// Draws `count` distinct usable nodes that each have `chunk_bytes` free. Returns fewer if there are
// no more; the caller decides whether that is enough. `used_hosts` are those of the object's other
// chunks, one entry each.
std::vector<NodeId> ChooseNodes(std::span<const NodeForPlacement> nodes, std::size_t count,
                                std::uint64_t chunk_bytes,
                                std::span<const std::uint32_t> used_hosts, Random& random);

// For a write that others make room for: the usable nodes with the most free bytes, chance deciding
// among equals, so that writers that come at the same time do not all ask the same ones.
std::vector<NodeId> ChooseFullNodes(std::span<const NodeForPlacement> nodes, std::size_t count,
                                    std::span<const std::uint32_t> used_hosts, Random& random);

}  // namespace infinicache::policy
