// What every thread may know of a node: its life, its fill, and its memory where that is mapped.
//
// An epoch is the pool's short name for one instance of a node: 1 for the first, one more for each
// that follows; 0 is "no instance lives". A chunk is placed on (node, epoch): when the epoch is no
// longer the node's, the chunk is gone. Where an instance takes over that is a copy of the one
// before (a backup), it gets an epoch of its own, and the `copied` epochs before that count as held
// too, until it is known which of their chunks the copy has (cache/failover.h). Chunk identities
// contain the version, so that a copy which is behind lacks chunks, and never has others for them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "pool/node_memory.h"

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
  // Of former instances that this one is a copy of. Grows before `epoch` does.
  std::atomic<std::uint32_t> copied{0};
  std::atomic<std::uint64_t> bytes_limit{0};
  std::atomic<std::uint64_t> bytes_used{0};      // as the node told last
  std::atomic<std::uint64_t> bytes_lent{0};      // of these: lent to this process (LentMemory)
  std::atomic<std::uint32_t> borrowers{0};       // loops that it may lend to
  std::atomic<std::uint64_t> bytes_reserved{0};  // of writes in flight
  std::atomic<std::uint64_t> bytes_freeing{0};   // evicted, which the node may not have told yet
  std::atomic<std::uint64_t> chunks{0};
  // What the proxy has changed there: chunks stored, and messages that freed some or set expiries.
  std::atomic<std::uint64_t> changes{0};
  std::atomic<std::uint64_t> bytes_stored{0};
  NodeMemory memory;
  std::uint32_t host = 0;  // platform::Platform::HostOf; set before there are threads

  // The node has told its fill, in its `sequence`-th answer, or before any (none). Answers come by
  // several loops, and one that was overtaken says nothing any more. Returns by how much what is
  // used has grown since the last one.
  std::uint64_t NoteFill(InstanceId instance, std::optional<std::uint32_t> sequence,
                         std::uint64_t used, std::uint64_t chunks_there);

  // What was stored in epoch `e` can be asked for.
  bool Holds(Epoch e) const {
    const std::uint64_t current = epoch.load(std::memory_order_acquire);
    const std::uint64_t held = e.value();
    return held != 0 && held <= current && held + copied.load(std::memory_order_acquire) >= current;
  }
  // What chunks take.
  std::uint64_t StoredBytes() const {
    const std::uint64_t used = bytes_used.load(std::memory_order_relaxed);
    return used - std::min(used, bytes_lent.load(std::memory_order_relaxed));
  }
  // For one that has `stock` bytes of what is lent at hand.
  std::uint64_t FreeBytes(std::uint64_t stock = 0) const {
    const std::uint64_t taken = TakenBytes();
    const std::uint64_t limit = bytes_limit.load(std::memory_order_relaxed) + stock;
    return taken < limit ? limit - taken : 0;
  }
  // By how much what is stored and reserved exceeds the limit.
  std::uint64_t MissingBytes(std::uint64_t stock = 0) const {
    const std::uint64_t taken = TakenBytes();
    const std::uint64_t limit = bytes_limit.load(std::memory_order_relaxed) + stock;
    return taken > limit ? taken - limit : 0;
  }

 private:
  std::mutex fill_mutex_;
  InstanceId fill_instance_;
  std::optional<std::uint32_t> fill_sequence_;

  std::uint64_t TakenBytes() const {
    return bytes_used.load(std::memory_order_relaxed) +
           bytes_reserved.load(std::memory_order_relaxed);
  }
};

// What a node's peer has of it.
struct BackupView {
  std::optional<Duration> age;     // since the last round that succeeded began; none: there is none
  bool behind = false;             // the node has changed since
  std::uint64_t bytes_behind = 0;  // stored since
  int failures = 0;                // rounds in a row
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
  std::uint64_t bytes_lent = 0;           // beside bytes_used: to this process, for chunks to come
  std::optional<BackupView> backup = {};  // none: it is not backed up
};

}  // namespace infinicache::pool
