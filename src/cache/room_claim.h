// Room for an object's chunks on nodes that are full: claimed, then made by evicting whole objects.
//
//   RoomClaim claim(worker, nodes, bytes);      // on each of the nodes
//   if (auto made = co_await claim.Make(); !made) …
//   … put the chunks there, which reserves their bytes …
//                                               // the claim ends with its scope
//
// The claim counts as reserved from the start, so that no other writer takes the room that is made
// here. Make first lets deletes that are under way end. Then it takes victims, expired objects
// before all others, until each node has what it lacks and kSpareShare of its memory more, so that
// not every write has to wait for nodes; only what frees bytes on a node that lacks some is taken.
// Chunks are deleted by the ReclaimQueue, in batches. Objects that somebody reads or repairs are
// taken when there are no others: the reader finishes, and the claim waits for that.
//
// Victims' bytes are noted in NodeShared::bytes_freeing while they are waited for: writers that
// make room at the same time do not evict for each other.
//
// KeepRoom does the same in the background, ahead of the writes.
//
// Bounded: kVictimsMax victims between two looks at the loop's other work, kMakeAtMost in all.
// Thread-safety: one event loop, one coroutine.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "cache/object.h"
#include "cache/worker.h"

namespace infinicache::cache {

class RoomClaim {
 public:
  static constexpr std::uint64_t kSpareShare = 128;
  // For KeepRoom, of a node that can lend memory in pieces only: with more of it free, what is
  // freed is likelier to join.
  static constexpr std::uint64_t kSpareShareInPieces = 64;
  static constexpr std::size_t kVictimsMax = 512;
  static constexpr Duration kMakeAtMost = std::chrono::seconds(2);
  // How long deletes under way are given before anything is evicted.
  static constexpr Duration kDeletesFirst = std::chrono::milliseconds(20);

  // Besides what is claimed, `spare_bytes` are to be free on each node.
  // REQUIRES: `nodes` are distinct; `worker` outlives the claim.
  RoomClaim(Worker& worker, std::vector<NodeId> nodes, std::uint64_t bytes,
            std::uint64_t spare_bytes = 0);
  RoomClaim(const RoomClaim&) = delete;
  RoomClaim& operator=(const RoomClaim&) = delete;
  ~RoomClaim();

  // Returns when each node has room for what is stored and claimed. With `refused` the nodes have
  // said that they are full whatever was known of them: then at least the claimed bytes are evicted
  // from each. Errors: kOutOfMemory (nothing is left to evict, or it did not help in time),
  // kCancelled (the server stops).
  net::Task<Status> Make(bool refused = false);

 private:
  struct Leaving {
    std::weak_ptr<ObjectRecord> object;
    std::vector<std::pair<NodeId, std::uint64_t>> bytes;
  };

  pool::NodeShared& shared(NodeId node) { return worker_.links().at(node).shared(); }
  std::uint64_t MissingBytes(NodeId node);
  bool IsMade();
  // Bytes that each node (by id) lacks beyond what is being freed.
  std::vector<std::uint64_t> Lacking(bool refused);
  // Takes victims until no node lacks anything. Whether there were any.
  bool Evict(std::vector<std::uint64_t> lacking);
  bool RemoveExpired(std::vector<std::uint64_t>& lacking);
  void Credit(const ObjectRef& gone, std::vector<std::uint64_t>& lacking);
  bool LacksAny(const std::vector<std::uint64_t>& lacking) const;
  // Of victims that have let go of their chunks, or of all.
  void DropCredits(bool all);
  // Until there is room, or for `all` of them: nodes that have refused something know better.
  net::Task<> AwaitDeletes(Duration at_most, bool all = false);

  Worker& worker_;
  const std::vector<NodeId> nodes_;
  const std::uint64_t bytes_;
  const std::uint64_t spare_bytes_;
  std::vector<Leaving> leaving_;  // our part of bytes_freeing
};

// Evicts until all nodes have some room, RoomClaim::kSpareShare of their memory or more, so that
// writes do not wait for it and nodes have memory to lend. Returns at once; a no-op where there is
// room, where it is under way already, and with `noeviction`. To be called with every write.
void KeepRoom(Worker& worker);

}  // namespace infinicache::cache
