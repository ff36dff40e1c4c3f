// Rebuilds the directory of a proxy that was restarted from what its nodes hold.
//
// Asks all nodes for their inventories at once, page by page, puts them together (InventoryMerge)
// and, as keys become settled, brings their objects into the directory, queues those for repair
// that lack chunks, and frees what belongs to no object. Commands on keys that are settled can be
// served meanwhile (RebuildProgress::IsSettled).
//
// A record that a client has written since goes before what is found. No client may write before
// RebuildProgress::versions_known(): from then on this run's versions are above all that the nodes
// had, by which chunks of its own writes are told from those that it found. A node that does not
// answer for kAnswerAtMost is given up: its chunks count as lost, and are repaired elsewhere.
//
// Memory: a few pages of 64 KiB per node. Thread-safety: one event loop, the worker's; Progress
// from any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cache/inventory_merge.h"
#include "cache/worker.h"
#include "net/notification.h"
#include "pool/link.h"

namespace infinicache::cache {

class Rebuilder final : private pool::FrameSink {
 public:
  static constexpr Duration kAnswerAtMost = std::chrono::seconds(5);

  // `sources`: instances that may hold chunks. `nodes_lost`: nodes of which that is not known, as
  // their instances have ended.
  Rebuilder(Worker& worker, std::vector<pool::Place> sources, std::size_t nodes_lost);
  Rebuilder(const Rebuilder&) = delete;
  Rebuilder& operator=(const Rebuilder&) = delete;
  ~Rebuilder();

  // Ends when all is settled, or the worker stops. CacheShared::rebuild tells how far it is.
  net::Task<> Run();

 private:
  struct Source {
    pool::Place place;
    std::uint64_t request = 0;  // of the page that is awaited; 0: none
    pool::Link* link = nullptr;
    TimePoint silent_since{};
    std::optional<ChunkId> last;        // of the last page that has come
    std::shared_ptr<std::string> page;  // being received
  };

  Target OnData(pool::Link& link, const wire::FrameHeader& header) override;
  void OnFrame(pool::Link& link, const wire::FrameHeader& header) override;
  void OnLinkLost(pool::Link& link, std::uint64_t request) override;

  std::size_t SourceOf(const pool::Link& link) const;
  void AskAll();
  void Ask(std::size_t index);
  void GiveUp(std::size_t index);
  void TakePage(std::size_t index, const wire::FrameHeader& header);
  void NoteVersions();
  bool IsOfThisRun(Version version) const;
  void Settle();
  void Insert(InventoryMerge::Found& found);
  void Count(const InventoryMerge::Settled& settled);

  Worker& worker_;
  InventoryMerge merge_;
  std::vector<Source> sources_;
  std::uint64_t last_version_;  // that was not of this run
  bool versions_known_ = false;
  net::Notification changed_;
};

}  // namespace infinicache::cache
