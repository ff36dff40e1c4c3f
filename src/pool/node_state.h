// What every thread may know of a node: its life and its fill, as atomics.
//
// An epoch is the pool's short name for one instance of a node: 1 for the first, one more for each
// that follows; 0 is "no instance lives". A chunk is placed on (node, epoch): when the epoch is no
// longer the node's, the chunk is gone.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace infinicache::pool {

using Epoch = StrongId<struct EpochTag, std::uint32_t>;

// The place of a chunk. A default Place means that the chunk is nowhere.
struct Place {
  NodeId node;
  Epoch epoch;

  bool IsNowhere() const { return epoch == Epoch(); }
  friend bool operator==(const Place&, const Place&) = default;
};

enum class NodeState : std::uint8_t { kStarting, kActive, kDown, kAsleep, kWaking };
inline constexpr std::size_t kNodeStates = 5;
std::string_view NodeStateName(NodeState state);

struct NodeShared {
  std::atomic<NodeState> state{NodeState::kDown};
  std::atomic<std::uint32_t> epoch{0};  // of the living instance, or 0
  std::atomic<std::uint64_t> bytes_limit{0};
  std::atomic<std::uint64_t> bytes_used{0};      // as the node told last
  std::atomic<std::uint64_t> bytes_reserved{0};  // of writes in flight
  std::atomic<std::uint64_t> bytes_freeing{0};   // evicted, which the node may not have told yet
  std::atomic<std::uint64_t> chunks{0};
  std::uint32_t host = 0;  // platform::Platform::HostOf; set before there are threads

  bool Holds(Epoch e) const {
    return e != Epoch() && epoch.load(std::memory_order_acquire) == e.value();
  }
  std::uint64_t FreeBytes() const {
    const std::uint64_t taken =
        bytes_used.load(std::memory_order_relaxed) + bytes_reserved.load(std::memory_order_relaxed);
    const std::uint64_t limit = bytes_limit.load(std::memory_order_relaxed);
    return taken < limit ? limit - taken : 0;
  }
  // By how much what is stored and reserved exceeds the limit.
  std::uint64_t MissingBytes() const {
    const std::uint64_t taken =
        bytes_used.load(std::memory_order_relaxed) + bytes_reserved.load(std::memory_order_relaxed);
    const std::uint64_t limit = bytes_limit.load(std::memory_order_relaxed);
    return taken > limit ? taken - limit : 0;
  }
};

// A row of /api/v1/nodes.
struct NodeView {
  NodeId id;
  NodeState state = NodeState::kDown;
  InstanceId instance;
  int pid = 0;
  std::string address;
  std::uint64_t bytes_used = 0;
  std::uint64_t bytes_limit = 0;
  std::uint64_t chunks = 0;
};

}  // namespace infinicache::pool
