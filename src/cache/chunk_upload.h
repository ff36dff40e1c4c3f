// Writes one chunk of an object to one node, strip by strip, and learns whether it was stored.
//
// Its bytes go over the link, or are put into memory that the node has lent (pool/lent_memory.h):
// the writer takes that by TakeMemory for each row, beginning with the first. Where it is in
// pieces, Send copies the strip there. Then the chunk is stored as soon as Send has been called for
// its last strip. Where there is no such memory, or the record finds no room, all of the chunk goes
// over the link, from where its bytes are.
//
// Used by ObjectWriter (d+p of them) and by repair. When it goes away unfinished it tells the node
// to drop what it has, in the order of the link, so that nothing is left behind. Thread-safety: one
// event loop.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cache/object.h"
#include "cache/row.h"
#include "cache/worker.h"
#include "pool/lent_memory.h"
#include "pool/link.h"

namespace infinicache::cache {

class ChunkUpload final : public pool::FrameSink {
 public:
  enum class State : std::uint8_t { kWriting, kStored, kFailed };
  static constexpr std::uint64_t kCopiedBytesMax = kMiB;
  // A chunk of at most so much is put in one range if there is one: when it is freed, the gap is as
  // long as the next one of its size.
  static constexpr std::uint64_t kWholeBytesMax = 512 * kKiB;

  // REQUIRES: the link to `node` is available; `record`, `worker` and `changed` outlive the upload.
  // `changed` is notified when the state changes.
  ChunkUpload(Worker& worker, const ObjectRef& record, std::size_t index, NodeId node,
              net::Notification& changed);
  ChunkUpload(const ChunkUpload&) = delete;
  ChunkUpload& operator=(const ChunkUpload&) = delete;
  ~ChunkUpload();

  // What it writes for; serving, if nobody says. Before the first Send.
  void set_cause(policy::Cause cause) { cause_ = cause; }

  // Memory of the node for the chunk's strip of the next row, of `bytes`; null if it is to go over
  // the link, or none is at hand in one piece. What is at hand in several is kept for Send.
  std::shared_ptr<pool::LentRange> TakeMemory(std::uint32_t bytes);
  // Null was for want of memory that the node may lend soon, of which `changed` tells.
  bool AwaitsMemory();
  // Null was for want of room on the node, while the chunk is in its memory already.
  bool LacksRoom() const;
  // Room was made.
  void NoteRoom();

  // Sends the chunk's strip of `row`. Call for every row, in order; a no-op once the upload has
  // failed. An object without rows is sent by SendEmpty.
  // With `more` it may wait for the next one, to go out together.
  void Send(const std::shared_ptr<Row>& row, std::uint32_t crc, bool more = false);
  void SendEmpty();

  // Gives the upload up: it counts as failed.
  void Abandon(const Error& reason);

  // Whether the node has taken any byte on its link since the last call.
  bool HasMoved();

  State state() const { return state_; }
  const Error& error() const { return error_; }
  NodeId node() const { return link_.node(); }
  pool::Link& link() { return link_; }
  // Where the chunk is in the node's memory, if it was put there; else null. REQUIRES: stored.
  const std::shared_ptr<const wire::ChunkLocation>& location() const { return location_; }

 private:
  policy::Cause cause() const override { return cause_; }
  Target OnData(pool::Link& link, const wire::FrameHeader& header) override;
  void OnFrame(pool::Link& link, const wire::FrameHeader& header) override;
  void OnLinkLost(pool::Link& link, std::uint64_t request) override;

  void SendStrip(std::uint64_t offset, std::span<const std::byte> bytes, std::uint32_t crc,
                 std::shared_ptr<const void> keep_alive, bool more = false);
  wire::ChunkMeta Meta() const;
  // False: there is no memory for it.
  bool PutStrip(const Row& row, std::uint32_t bytes, std::uint32_t crc);
  void Store();
  void BeginBorrowing();
  // What its strips take in lent memory, as long as the rows' units. REQUIRES: there are rows.
  std::uint64_t MemoryBytes() const;
  void StopBorrowing();
  // What was put into lent memory so far goes over the link after all, from there. What is there in
  // pieces has to be copied for that: of a chunk of more than kCopiedBytesMax it fails.
  void TakeToLink();
  void Unreserve(std::uint64_t bytes);
  void TellNodeToDrop();
  void Finish(State state);

  const ObjectRef& record_;
  std::size_t index_;
  pool::Link& link_;
  std::uint64_t request_;
  std::uint64_t chunk_bytes_;
  std::uint64_t reserved_bytes_;
  std::uint64_t bytes_sent_seen_ = 0;
  std::shared_ptr<pool::LentMemory> lent_;                // null: it goes over the link
  std::vector<std::shared_ptr<pool::LentRange>> put_;     // what is in it so far
  std::vector<std::shared_ptr<pool::LentRange>> pieces_;  // for the next strip
  std::shared_ptr<pool::LentRange> rest_;                 // for all strips that are to come
  wire::ChunkLocation put_location_;
  std::shared_ptr<const wire::ChunkLocation> location_;
  bool begun_ = false;  // Send was called
  State state_ = State::kWriting;
  policy::Cause cause_ = policy::Cause::kServing;
  Error error_;
  net::Notification& changed_;
};

}  // namespace infinicache::cache
