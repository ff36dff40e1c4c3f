// The sending side of a backup: brings a peer's copy of this instance's chunks up to date, over one
// connection, by the requests that a proxy would make.
//
//   source                                   peer
//     sync_open            ──▶
//                          ◀──   sync_state: a copy of whom, up to which change
//     (inventory           ──▶  ◀── its pages: only if that is no base for a delta)
//     delete, set_expiry, put ──▶  ◀── deleted, expiry_set, stored
//     sync_close           ──▶  ◀── sync_state
//
// User requests go on meanwhile, on the same loop, and come first: one strip is sent at a time,
// within the rate, and at most kUnansweredBytesMax are under way. What is changed meanwhile belongs
// to the next round. The chunk that is being sent is held, not copied.
//
// The peer counts as current only if everything was taken. If the round ends before, by Abort, the
// deadline, or the peer, it keeps what it got, and the next round compares.
//
// Thread-safety: none; one event loop. Lives until Run has ended.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "net/frame_reader.h"
#include "net/socket.h"
#include "net/task.h"
#include "net/timer.h"
#include "node/chunk_store.h"
#include "node/sync_plan.h"
#include "policy/rate_limit.h"
#include "wire/sync_frames.h"

namespace infinicache::node {

class SyncSource {
 public:
  static constexpr std::size_t kUnansweredBytesMax = 2 * kMiB;
  static constexpr std::size_t kUnansweredMax = 64;
  static constexpr std::uint64_t kBurstBytes = 512 * kKiB;

  // `socket`: connected to the peer, whose handshake is done. REQUIRES: `store` outlives this.
  SyncSource(ChunkStore& store, InstanceId self, net::Socket& socket, TimePoint deadline,
             std::uint64_t bytes_per_second);

  // Ends when the peer is current. Errors: kDeadlineExceeded; kUnavailable (the connection ended,
  // or Abort); what the peer said when it refused something.
  net::Task<Status> Run();
  // Makes Run end soon.
  void Abort() { socket_.Shutdown(); }
  const wire::SyncTotals& totals() const { return totals_; }

 private:
  struct Answer {
    wire::FrameHeader header;
    std::string meta;
  };

  net::Task<Status> Sync();
  net::Task<Result<wire::SyncState>> AskState(wire::FrameType type, const wire::SyncState& state);
  net::Task<Result<SyncPlan>> Plan(wire::SyncState theirs);
  net::Task<Result<std::vector<wire::ChunkExpiry>>> ListPeer();
  // As a request of its own, which is answered like a chunk.
  net::Task<Status> SendList(wire::FrameType type, std::string list);
  net::Task<Status> SendRemovals(std::vector<ChunkId> removed);
  net::Task<Status> SendExpiries(std::vector<wire::ChunkExpiry> expiries);
  net::Task<Status> SendChunk(const Chunk& chunk);
  net::Task<Status> SendStrip(const Chunk& chunk, std::size_t index);
  net::Task<Status> Send(wire::FrameHeader header, std::string meta,
                         std::span<const Extent> payload = {});
  // Waits until at most this is unanswered.
  net::Task<Status> AwaitAnswers(std::size_t requests, std::size_t bytes);
  net::Task<Result<Answer>> Receive();

  ChunkStore& store_;
  const InstanceId self_;
  net::Socket& socket_;
  net::FrameReader reader_;
  const TimePoint deadline_;
  net::Timer cutoff_;
  policy::RateLimit rate_;
  wire::SyncTotals totals_;
  std::uint64_t last_request_ = 0;
  std::deque<std::size_t> unanswered_;  // the bytes of each request; answers come in order
  std::size_t unanswered_bytes_ = 0;
  std::optional<Error> refusal_;  // the peer did not take something
};

}  // namespace infinicache::node
