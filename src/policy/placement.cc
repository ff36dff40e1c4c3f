#include "policy/placement.h"

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <cmath>
#include <utility>

namespace infinicache::policy {

namespace {

using boost::container::small_vector;

struct Candidate {
  double key;  // the largest come first
  NodeId node;
  std::uint32_t host;

  friend bool operator<(const Candidate& a, const Candidate& b) { return a.key < b.key; }
};

// On the stack for a pool of usual size: every write draws nodes.
using Candidates = small_vector<Candidate, 32>;

// Few hosts have chunks of one object: a list is faster than a map.
class ChunksOfHosts {
 public:
  std::size_t Of(std::uint32_t host) const {
    const auto found = Find(host);
    return found != counts_.end() ? found->second : 0;
  }
  void Add(std::uint32_t host) {
    const auto found = Find(host);
    if (found == counts_.end()) {
      counts_.emplace_back(host, 1);
    } else {
      ++counts_[static_cast<std::size_t>(found - counts_.begin())].second;
    }
  }

 private:
  using Counts = small_vector<std::pair<std::uint32_t, std::size_t>, 16>;
  Counts::const_iterator Find(std::uint32_t host) const {
    return std::find_if(counts_.begin(), counts_.end(),
                        [host](const auto& entry) { return entry.first == host; });
  }

  Counts counts_;
};

// The first `count` in the order of their keys, but such of hosts without a chunk before others.
std::vector<NodeId> Spread(Candidates heap, std::size_t count,
                           std::span<const std::uint32_t> used_hosts) {
  std::make_heap(heap.begin(), heap.end());
  ChunksOfHosts chunks_of_host;
  for (const std::uint32_t host : used_hosts) chunks_of_host.Add(host);

  std::vector<NodeId> chosen;
  chosen.reserve(count);
  Candidates passed;  // over, in their order, as their hosts have chunks already
  while (chosen.size() < count && !heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate next = heap.back();
    heap.pop_back();
    if (chunks_of_host.Of(next.host) > 0) {
      passed.push_back(next);
    } else {
      chunks_of_host.Add(next.host);
      chosen.push_back(next.node);
    }
  }
  while (chosen.size() < count && !passed.empty()) {
    const auto next =
        std::min_element(passed.begin(), passed.end(), [&](const auto& a, const auto& b) {
          return chunks_of_host.Of(a.host) < chunks_of_host.Of(b.host);
        });
    chunks_of_host.Add(next->host);
    chosen.push_back(next->node);
    passed.erase(next);
  }
  return chosen;
}

}  // namespace

std::vector<NodeId> ChooseNodes(std::span<const NodeForPlacement> nodes, std::size_t count,
                                std::uint64_t chunk_bytes,
                                std::span<const std::uint32_t> used_hosts, Random& random) {
  // log(u)/w orders like u^(1/w) without underflow. As a float it is good enough to tell the
  // largest of thousands.
  Candidates candidates;
  candidates.reserve(nodes.size());
  for (const NodeForPlacement& node : nodes) {
    if (!node.usable || node.free_bytes < chunk_bytes) continue;
    const float weight = static_cast<float>(node.free_bytes) + 1;
    const auto unit = static_cast<float>(1.0 - random.Unit());
    candidates.push_back({std::log(unit) / weight, node.node, node.host});
  }
  return Spread(std::move(candidates), count, used_hosts);
}

std::vector<NodeId> ChooseFullNodes(std::span<const NodeForPlacement> nodes, std::size_t count,
                                    std::span<const std::uint32_t> used_hosts, Random& random) {
  Candidates candidates;
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
