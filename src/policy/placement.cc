#include "policy/placement.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

namespace infinicache::policy {

namespace {

struct Candidate {
  double key;  // the largest come first
  NodeId node;
  std::uint32_t host;

  friend bool operator<(const Candidate& a, const Candidate& b) { return a.key < b.key; }
};

// The first `count` in the order of their keys, but such of hosts without a chunk before others.
std::vector<NodeId> Spread(std::vector<Candidate> heap, std::size_t count,
                           std::span<const std::uint32_t> used_hosts) {
  std::make_heap(heap.begin(), heap.end());
  std::unordered_map<std::uint32_t, std::size_t> chunks_of_host;
  for (const std::uint32_t host : used_hosts) ++chunks_of_host[host];

  std::vector<NodeId> chosen;
  std::vector<Candidate> passed;  // over, in their order, as their hosts have chunks already
  while (chosen.size() < count && !heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate next = heap.back();
    heap.pop_back();
    if (chunks_of_host[next.host] > 0) {
      passed.push_back(next);
    } else {
      ++chunks_of_host[next.host];
      chosen.push_back(next.node);
    }
  }
  while (chosen.size() < count && !passed.empty()) {
    const auto next =
        std::min_element(passed.begin(), passed.end(), [&](const auto& a, const auto& b) {
          return chunks_of_host[a.host] < chunks_of_host[b.host];
        });
    ++chunks_of_host[next->host];
    chosen.push_back(next->node);
    passed.erase(next);
  }
  return chosen;
}

}  // namespace

std::vector<NodeId> ChooseNodes(std::span<const NodeForPlacement> nodes, std::size_t count,
                                std::uint64_t chunk_bytes,
                                std::span<const std::uint32_t> used_hosts, Random& random) {
  // log(u)/w orders like u^(1/w) without underflow.
  std::vector<Candidate> candidates;
  candidates.reserve(nodes.size());
  for (const NodeForPlacement& node : nodes) {
    if (!node.usable || node.free_bytes < chunk_bytes) continue;
    const double weight = static_cast<double>(node.free_bytes) + 1;
    candidates.push_back({std::log(1.0 - random.Unit()) / weight, node.node, node.host});
  }
  return Spread(std::move(candidates), count, used_hosts);
}

std::vector<NodeId> ChooseFullNodes(std::span<const NodeForPlacement> nodes, std::size_t count,
                                    std::span<const std::uint32_t> used_hosts, Random& random) {
  std::vector<Candidate> candidates;
  candidates.reserve(nodes.size());
  for (const NodeForPlacement& node : nodes) {
    // Chance decides among equals: their free bytes are whole numbers.
    if (node.usable)
      candidates.push_back(
          {static_cast<double>(node.free_bytes) + random.Unit(), node.node, node.host});
  }
  return Spread(std::move(candidates), count, used_hosts);
}

}  // namespace infinicache::policy
