#include "policy/placement.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace infinicache::policy {

std::vector<NodeId> ChooseNodes(std::span<const NodeForPlacement> nodes, std::size_t count,
                                std::uint64_t chunk_bytes, Random& random) {
  // log(u)/w orders like u^(1/w) without underflow.
  std::vector<std::pair<double, NodeId>> keyed;
  keyed.reserve(nodes.size());
  for (const NodeForPlacement& node : nodes) {
    if (!node.usable || node.free_bytes < chunk_bytes) continue;
    const double weight = static_cast<double>(node.free_bytes) + 1;
    keyed.emplace_back(std::log(1.0 - random.Unit()) / weight, node.node);
  }
  const std::size_t chosen = std::min(count, keyed.size());
  std::partial_sort(keyed.begin(), keyed.begin() + static_cast<std::ptrdiff_t>(chosen), keyed.end(),
                    [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<NodeId> result;
  result.reserve(chosen);
  for (std::size_t i = 0; i < chosen; ++i) result.push_back(keyed[i].second);
  return result;
}

}  // namespace infinicache::policy
