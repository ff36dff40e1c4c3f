// Sends a healthy object to a client without copying it to this process: each data strip goes from
// its node's socket through a pipe to the client's socket, in the object's order.
//
// It is the fast path of a read, and gives up at the first sign of trouble (a node is late, lost,
// or misses its chunk): the caller then goes on with an ObjectReader from the byte that was
// reached. Nothing is sent before the first strip of every data chunk has begun to arrive, so that
// trouble at the start costs nothing.
//
// A strip that arrives before its turn waits in its link's socket. That holds up the link, so when
// another request uses it too, the strip is received into memory instead, and verified. What is
// held counts in the worker's budget; when there is none to spare the strip is given back, that is
// dropped and asked for again at its turn. The strip whose turn it is is always held.
//
// Thread-safety: one event loop, one coroutine.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/buffer_pool.h"
#include "cache/object.h"
#include "cache/worker.h"
#include "net/pipe.h"
#include "net/socket.h"
#include "pool/link.h"

namespace infinicache::cache {

class SpliceRelay final : public pool::FrameSink {
 public:
  // Below this copying is cheaper: a strip has its fixed cost in system calls.
  static constexpr std::uint64_t kObjectBytesMin = 512 * kKiB;
  static constexpr std::uint64_t kRowsPerBatch = 16;

  struct Outcome {
    bool started = false;           // the head is sent
    bool client_gone = false;       // and nothing more can be
    std::uint64_t bytes_sent = 0;   // of the object
    std::uint64_t late_chunks = 0;  // bit per chunk that was waited for in vain
  };

  // Whether all of the object's data chunks can be read now.
  static bool Suits(Worker& worker, const ObjectRecord& record);

  // REQUIRES: Suits().
  SpliceRelay(Worker& worker, ObjectRef record, net::Socket& client);
  ~SpliceRelay();

  // Sends `output`, `head` and the object, as far as it goes.
  net::Task<Outcome> Run(std::string_view output, std::string_view head);

 private:
  // A strip, or the rest of one, that had to be taken out of its socket.
  struct Held {
    // REQUIRES: `bytes` are acquired from the worker's budget; they are given back.
    Held(Worker& worker, std::size_t bytes);
    ~Held();
    Worker& worker;
    std::size_t bytes;
    Buffer buffer;
    bool complete = false;
  };
  // One data chunk's way to the client. Its strips come in order: first those held, then the one
  // that waits in the socket.
  struct Lane {
    pool::Link* link = nullptr;
    std::uint64_t request = 0;           // whose strips come next
    std::uint64_t finished_request = 0;  // whose last strip is still borrowed or being received
    std::uint64_t next_row = 0;
    std::uint64_t asked_to = 0;  // rows below this are asked for
    bool borrowed = false;
    std::deque<std::shared_ptr<Held>> held;

    bool HasStrip() const { return borrowed || !held.empty(); }
    std::size_t requests() const {
      return (request != 0 ? 1 : 0) + (finished_request != 0 ? 1 : 0);
    }
  };

  Target OnData(pool::Link& link, const wire::FrameHeader& header) override;
  void OnFrame(pool::Link& link, const wire::FrameHeader& header) override;
  void OnLinkLost(pool::Link& link, std::uint64_t request) override;
  bool Borrows() const override { return true; }
  void OnBorrowContended(pool::Link& link) override;
  void OnBorrowReadable(pool::Link& link) override;

  net::Task<> Relay(std::string_view output, std::string_view head);
  net::Task<bool> AwaitFirstStrips();
  net::Task<bool> MoveStrip(std::size_t chunk, std::size_t bytes);
  net::Task<bool> SpliceSome(std::size_t chunk, std::size_t& left);
  net::Task<bool> SendHeld(std::size_t chunk, std::size_t& left);
  net::Task<bool> DrainPipe();
  net::Task<bool> AwaitProgress(std::size_t chunk);
  // Where the rest of a strip, `bytes` of row `row`, goes that must not stay in its socket.
  Target Hold(std::size_t chunk, std::uint64_t row, std::size_t bytes);
  void GiveBack(Lane& lane, std::uint64_t row);
  void Cancel(Lane& lane);
  void AskNextBatch(std::size_t chunk);
  void Finish(Lane& lane, std::uint64_t request);
  std::size_t ChunkOf(const pool::Link& link) const;

  Worker& worker_;
  ObjectRef record_;
  net::Socket& client_;
  std::optional<net::Pipe> pipe_;
  std::vector<Lane> lanes_;
  net::Notification progress_;
  std::size_t turn_ = 0;  // the chunk that is waited for, or on its way to the client
  bool failed_ = false;
  Outcome outcome_;
};

}  // namespace infinicache::cache
