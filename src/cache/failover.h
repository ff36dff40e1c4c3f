// Finds out which chunks an instance has that took over as a copy of the one before, and gives
// them its epoch.
//
// Asks the instance for its inventory, page by page. A listed chunk whose object and version are
// current, and which is not alive elsewhere, is moved to the new epoch; what the directory does not
// know, or has elsewhere, is freed. What is left in the former epochs afterwards is lost, and
// repaired. Readers do not wait for this: they ask the new instance meanwhile, and a chunk that it
// lacks is missing (pool::NodeShared).
//
// A chunk of an object that is not in the directory may belong to a write that is not committed
// yet: it is freed only if that is still so after kOrphanPatience. Frees are confirmed by the node,
// since what it had missed must not be found there by a rebuild.
//
// Memory: a page of 64 KiB, and 24 bytes and the key for each chunk that may be freed. Cost: a
// lookup in the directory for each chunk. Thread-safety: one event loop, the worker's.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cache/worker.h"
#include "net/notification.h"
#include "pool/link.h"
#include "wire/inventory.h"

namespace infinicache::cache {

// What becomes of a listed chunk.
enum class Verdict : std::uint8_t { kKeep, kIgnore, kFree, kFreeLater };

class Failover final : private pool::FrameSink {
 public:
  static constexpr Duration kAnswerAtMost = std::chrono::seconds(10);
  static constexpr Duration kOrphanPatience = std::chrono::seconds(60);

  Failover(Worker& worker, pool::Place taken);
  Failover(const Failover&) = delete;
  Failover& operator=(const Failover&) = delete;
  ~Failover();

  // Ends when all chunks are listed, or cannot be: then what was not listed counts as not there.
  net::Task<> Run();
  // Frees what belongs to nothing. After Run, and after the end of the failover was told. Whether
  // the node has nothing of it any more.
  net::Task<bool> FreeOrphans();

  std::uint64_t kept() const { return kept_; }
  std::uint64_t listed() const { return listed_; }

  // Moves the chunk if it is to be kept. `newest`: the last version that was given before the
  // instance took over.
  static Verdict Judge(Worker& worker, const wire::InventoryEntry& entry, pool::Place taken,
                       Version newest);

 private:
  struct Orphan {
    ChunkId chunk;
    std::string key;
  };

  Target OnData(pool::Link& link, const wire::FrameHeader& header) override;
  void OnFrame(pool::Link& link, const wire::FrameHeader& header) override;
  void OnLinkLost(pool::Link& link, std::uint64_t request) override;

  bool IsOver() const;
  void Ask();
  net::Task<bool> Free(std::span<const ChunkId> chunks);
  void TakePage(const wire::FrameHeader& header);

  Worker& worker_;
  const pool::Place taken_;
  const Version newest_;
  net::Notification changed_;
  pool::Link& link_;
  std::uint64_t request_ = 0;  // 0: none is under way
  std::shared_ptr<std::string> page_;
  bool done_ = false;
  bool freed_ = false;           // the node has answered
  std::optional<ChunkId> last_;  // of the last page
  std::uint64_t kept_ = 0;
  std::uint64_t listed_ = 0;
  std::vector<ChunkId> stale_;   // to be freed at once
  std::vector<Orphan> orphans_;  // and later
};

}  // namespace infinicache::cache
