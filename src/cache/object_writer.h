// Writes an object while its bytes arrive: cut into rows, coded, checksummed and sent to d+p nodes.
//
//   ObjectWriter writer(worker, key, bytes);
//   if (auto begun = co_await writer.Begin(); !begun) …
//   while (writer.bytes_left() > 0) {
//     auto memory = co_await writer.Next();          // where the next bytes go: pieces
//     … put n bytes there, in order …
//     if (auto status = writer.Wrote(n); !status) …
//   }
//   auto record = co_await writer.Finish();           // all chunks are stored; nobody sees the
//   object yet directory.Commit(*record, …);
//
// Where nodes lend memory (pool/lent_memory.h), Next is that memory: strips are received and coded
// where they stay, and stored without a message. A write waits a little for the first of it; what
// finds none goes over the links. What has begun there goes on there: a node that has no more is
// made room on.
//
// Each row is coded as soon as it is full, while it is still in the cache. At most kRowsInFlight
// rows wait to be sent: slow nodes hold back the client, not the memory.
//
// When too few nodes have room, Begin evicts other objects (RoomClaim), unless the eviction policy
// is `noeviction`. A node that turns out to be full nevertheless is made room on and asked again, a
// few times and only while all bytes sent so far are at hand.
//
// An overwrite puts p+1 of its chunks on nodes that hold the version before, so that its commit
// shows wherever that could be found again (cache/hidden.h).
//
// A node that fails is replaced while all bytes sent so far are still at hand (objects of at most
// kRowsInFlight rows); else the chunk is left out, as long as d + parity_min chunks remain, and
// repaired later. A node that makes no progress for kStallAfter while enough others do is treated
// as failed. Going away before Finish leaves nothing behind; so does dropping the record without a
// commit.
//
// Errors: kOutOfMemory (no room on enough nodes), kTooLarge, kUnavailable (too few nodes live),
// kDeadlineExceeded. Thread-safety: one event loop, one coroutine.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cache/chunk_upload.h"
#include "cache/object.h"
#include "cache/row.h"
#include "cache/worker.h"

namespace infinicache::cache {

class ObjectWriter {
 public:
  static constexpr std::size_t kRowsInFlight = 8;
  static constexpr Duration kStallAfter = std::chrono::seconds(1);
  // A node that has all bytes may still be busy with them; on a loaded machine for a second.
  static constexpr Duration kAnswerAfter = std::chrono::seconds(2);
  // For memory that nodes lend for the first row, of a single one and of more; then it goes over
  // the links.
  static constexpr Duration kLendAtMost = std::chrono::milliseconds(5);
  static constexpr Duration kLendRowsAtMost = std::chrono::milliseconds(250);
  // How often room is made for one row of what is in such memory already.
  static constexpr int kLendRoomsMax = 4;

  // `expires_at`: what the nodes are told, as far as it is known before the value.
  ObjectWriter(Worker& worker, std::string_view key, std::uint64_t bytes,
               WallMillis expires_at = ObjectRecord::kNever);
  ~ObjectWriter();

  net::Task<Status> Begin();
  // Memory for the next bytes, in order: at least one, at most bytes_left(). The array is there
  // until the next call, for the caller to change. REQUIRES: bytes_left() > 0.
  net::Task<Result<std::span<iovec>>> Next();
  // `count` bytes are in the memory that Next returned.
  Status Wrote(std::size_t count);
  net::Task<Result<ObjectRef>> Finish();

  std::uint64_t bytes_left() const { return layout_.object_bytes - written_; }

 private:
  std::vector<NodeId> DrawNodes();
  Status PlaceChunks();
  net::Task<Status> PlaceMakingRoom();
  void PutOn(std::span<const NodeId> nodes);
  void PutOn(std::size_t index, NodeId node);
  net::Task<> AwaitReclaim();
  bool MayRetryRefused() const;
  net::Task<> RetryRefused();
  Status CheckChunks() const;
  void SendRow();
  void ReplaceFailed();
  void FlushLinks();
  net::Task<Status> AwaitWindow();
  net::Task<Row::LentRanges> TakeLent(std::uint32_t unit);
  net::Task<> MakeLendable(std::span<ChunkUpload* const> uploads, std::uint32_t unit);
  std::span<iovec> Unfilled();
  void FillUp();
  void Encode();
  void NoteLocations();
  bool AnyMoved();
  bool AbandonStalled();
  std::size_t CountState(ChunkUpload::State state) const;
  std::size_t required() const;
  bool RetainsRows() const { return layout_.rows() <= kRowsInFlight; }

  Worker& worker_;
  coding::StripeLayout layout_;
  ObjectRef record_;
  net::Notification changed_;  // some chunk was stored or failed
  std::shared_ptr<RowWindow> window_;
  std::vector<std::unique_ptr<ChunkUpload>> chunks_;  // null: no node was found for it
  std::vector<NodeId> used_nodes_;
  std::shared_ptr<Row> row_;  // being filled
  std::size_t row_filled_ = 0;
  std::array<iovec, kCodeWidthMax> unfilled_{};
  std::vector<std::shared_ptr<Row>> retained_;  // all rows so far, while RetainsRows()
  std::uint64_t written_ = 0;
  std::uint64_t rows_sent_ = 0;
  int retries_ = 0;  // of chunks that nodes had no room for
  bool finished_ = false;
};

// Writes `value` as an object of `key` in one go; else as ObjectWriter.
net::Task<Result<ObjectRef>> WriteObject(Worker& worker, std::string_view key,
                                         std::string_view value,
                                         WallMillis expires_at = ObjectRecord::kNever);

}  // namespace infinicache::cache
