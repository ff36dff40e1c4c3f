// One link to a node, seen from an event loop of the proxy.
//
// A link is made once per node and loop and endures. It dials the node's instance when there is
// one, again with back-off when the connection ends while the instance lives, and the next instance
// when the pool tells of it; or it waits for connections that instances have dialled.
//
// A node may be asleep. Then the link takes requests all the same (`available`), keeps what they
// send, asks the pool to wake the node, and sends it when the pool grants that, or opens the gate.
// A request that was granted once is sent to its end. If another instance answers than the one that
// a request is bound to, or none in time, the request is lost, as by the end of a connection. What
// was sent before the gate closed waits in the node's socket, and is answered in its next session,
// which is asked for when the answers that are here already have been taken.
//
// Requests are pipelined. Each has an id and a FrameSink, to which its answers go: payloads of
// kData, kInventoryReply, kLocated and kLent are received straight into memory that the sink names,
// or stay in the socket when the sink borrows them (to splice them on). A sink that goes away calls
// Forget first; its late answers are skipped.
//
// Sends are tried at once and queued when the socket is full; payload memory is held by
// `keep_alive` until it is sent. Callers bound what they queue (queued_bytes()).
//
// Thread-safety: one event loop. All callbacks are on it, and may call the link.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/random.h"
#include "base/result.h"
#include "net/frame_reader.h"
#include "net/notification.h"
#include "net/socket.h"
#include "policy/backoff.h"
#include "policy/meter.h"
#include "policy/smoothed_delay.h"
#include "pool/node_state.h"
#include "wire/frame.h"

namespace infinicache::pool {

class Link;
class LentMemory;

class FrameSink {
 public:
  struct Target {
    enum class Kind : std::uint8_t {
      kDiscard,
      kMemory,  // the payload goes to `memory`, which has room for all of it
      kBorrow,  // the payload stays in the socket until the sink calls Link::Release or
                // Link::Receive, or is told OnLinkLost
    };
    Kind kind = Kind::kDiscard;
    std::byte* memory = nullptr;
    std::shared_ptr<const void> keep_alive;  // of `memory`
  };

  // The header of a kData, kInventoryReply, kLocated or kLent frame arrived.
  virtual Target OnData(Link& link, const wire::FrameHeader& header) = 0;
  // A frame is complete: one whose payload is in memory, or any other answer.
  virtual void OnFrame(Link& link, const wire::FrameHeader& header) = 0;
  // Whether OnData may borrow; never changes. As long as such a sink is registered, no payload is
  // read ahead.
  virtual bool Borrows() const { return false; }
  // What a node that is woken for this request is billed to.
  virtual policy::Cause cause() const { return policy::Cause::kServing; }
  // The connection ended; no answers of this request follow, and the link has forgotten it.
  virtual void OnLinkLost(Link& link, std::uint64_t request) = 0;
  // Another request was made on this link while a payload is borrowed: take it out of the way, by
  // Link::Receive.
  virtual void OnBorrowContended(Link& /*link*/) {}
  // After Link::AwaitBorrowed: more of the payload is in the socket, or the connection ended.
  virtual void OnBorrowReadable(Link& /*link*/) {}

 protected:
  ~FrameSink() = default;
};

// What a link asks of the pool. One demand is open at a time; it ends by an answer of the node, by
// the loss of all requests, or is given up.
// A kRepairDemand is one that only repair has. kCrossed asks nothing: requests were on their way to
// the node when its session ended, and a demand follows.
enum class LinkEvent : std::uint8_t { kDemand, kRepairDemand, kAnswered, kAbandoned, kCrossed };

// When a link may send.
struct Gate {
  bool wakeable = false;  // requests are taken while the node sleeps, or is not connected
  TimePoint open_until = TimePoint::max();  // min: closed; max: until the pool closes it

  friend bool operator==(const Gate&, const Gate&) = default;
};

// For whom nodes lend memory: this process, by a number that no other has, and one of its loops.
struct LendAccount {
  std::uint64_t owner = 0;
  std::uint16_t number = 0;  // < wire::kLendAccounts
};

struct LinkOptions {
  NodeId node;
  std::string secret;
  net::SocketOptions socket;
  std::uint64_t seed = 0;
  Gate gate = {};  // the first one
  std::function<void(NodeId, LinkEvent)> tell_pool = {};
  bool map_memory = false;  // of instances that offer it
  // For writes to mapped memory; none: there are no such writes.
  std::optional<LendAccount> lend_account = {};
  policy::SmoothedDelay* wake_delay = nullptr;  // told of demands that were answered
};

class Link {
 public:
  Link(net::EventLoop& loop, NodeShared& shared, LinkOptions options);
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link();

  // Starts dialling when an instance is known. Ends after Stop.
  net::Task<> Run();
  void Stop();

  // The instance to talk to; epoch 0 means that there is none. Without an address it dials us. If
  // it is a copy of the one before, what waits goes to it.
  void SetInstance(Epoch epoch, InstanceId instance, net::HostPort address, bool copy = false);
  // A connection that `instance` has dialled, after the handshake. Used when it is the instance to
  // talk to, now or later.
  void Attach(InstanceId instance, net::Socket socket);

  void SetGate(Gate gate);
  // Called when requests may be sent after a time in which they could not.
  void set_on_awake(std::function<void()> callback) { on_awake_ = std::move(callback); }
  // What waits now may be sent.
  void Grant();
  // The node does not wake: all requests are lost.
  void FailRequests();

  NodeId node() const { return options_.node; }
  bool connected() const { return connected_ && !broken_; }
  // Requests may be registered.
  bool available() const { return connected() || gate_.wakeable; }
  // What is sent now wakes nobody: it goes out at once, or is waited for anyway.
  bool awake() const { return (connected() && IsOpen()) || demanded_; }
  // Requests wait for the node to wake.
  bool waking() const { return demanded_ && !waiting_.empty(); }
  // The instance that requests go to; 0 if there is none, or the link is not available.
  Epoch epoch() const { return available() ? epoch_ : Epoch(); }
  // That instance is the node's present one, as far as the pool knows.
  bool IsCurrent() const {
    return epoch() != Epoch() && shared_.epoch.load(std::memory_order_acquire) == epoch().value();
  }
  // Some answer is overdue; cleared by any sign of life, a session's end, and another instance.
  // Readers and writers prefer other nodes.
  bool suspect() const { return suspect_; }
  void Suspect();
  NodeShared& shared() { return shared_; }
  // That of the instance that requests go to, if it can be read here; else null.
  const std::shared_ptr<const SharedMemory>& memory() const { return memory_; }
  // What that instance lends for writes; null if there is none now, or it lends nothing.
  const std::shared_ptr<LentMemory>& lent();
  // Bytes of it that are at hand.
  std::uint64_t stock() const;
  // Whether the node had no memory to lend in one piece when it was asked last.
  bool lends_in_pieces() const;

  // A new request id for `sink`. A bound request is for what the present instance holds, another
  // one for any. REQUIRES: available().
  std::uint64_t Register(FrameSink* sink, bool bound = true);
  void Forget(std::uint64_t request);
  std::size_t requests() const { return sinks_.size(); }

  // Sends a frame: header, then `meta`, then `payload` (held alive by `keep_alive`). A frame for a
  // link that is not connected is dropped; sinks learn of that by OnLinkLost.
  // With `more` it may wait for the next Send, or Flush, to go out in one call.
  void Send(wire::FrameHeader header, std::string meta = {},
            std::span<const std::byte> payload = {},
            std::shared_ptr<const void> keep_alive = nullptr, bool more = false);
  // Sends what waits, as far as the socket takes it now.
  void Flush();
  // Drops queued frames of `request` that are not partly sent.
  void Unqueue(std::uint64_t request);
  // Nothing of `request` can have reached the node.
  bool IsUnsent(std::uint64_t request) const { return request > granted_up_to_; }
  std::size_t queued_bytes() const { return queued_bytes_; }
  // Bytes sent so far on this connection.
  std::uint64_t bytes_sent() const { return socket_ ? socket_->bytes_written() : 0; }

  // For the sink that borrowed a payload: its bytes wait in the socket.
  net::Socket& socket() { return *socket_; }
  net::FrameReader& reader() { return *reader_; }
  // The borrowed payload was consumed completely (FrameReader::ConsumedOutside): goes on reading.
  // With `forget` it was the request's last. What is here already is told to its sinks at once.
  void Release(bool forget);
  // Receive the rest of the borrowed payload into memory after all; OnFrame follows.
  void Receive(FrameSink::Target target);
  // Call OnBorrowReadable when more of the borrowed payload has arrived.
  void AwaitBorrowed();

 private:
  struct Outgoing {
    std::uint64_t request;
    std::array<std::byte, wire::kFrameHeaderBytes> header;
    std::string meta;
    std::span<const std::byte> payload;
    std::shared_ptr<const void> keep_alive;
    std::size_t sent = 0;
    std::size_t size() const { return header.size() + meta.size() + payload.size(); }
  };
  struct Sink {
    FrameSink* sink = nullptr;
    bool bound = true;
  };
  struct Arrived {
    InstanceId instance;
    std::unique_ptr<net::Socket> socket;
  };
  static constexpr std::size_t kArrivedMax = 2;

  bool IsOpen() const {
    return gate_.open_until == TimePoint::max() || net::EventLoop::Now() < gate_.open_until;
  }
  // Grants what waits if the gate is open, or has been told to.
  void GrantIfOpen();
  void Unqueue(std::deque<Outgoing>& queue, std::uint64_t request);
  bool HasWhere() const;
  // The connection of the instance to talk to.
  bool TakeArrived();
  void Demand();
  // What was sent has no answer in the session that is over.
  void DemandAgain();
  // Before a wait for more: what was sent and has no answer here has none in this session.
  void DemandMissingAnswers();
  void EndDemand(LinkEvent event);
  // Loses the requests for which `is_lost`, with what is queued of them.
  void Lose(const std::function<bool(std::uint64_t, const Sink&)>& is_lost);

  struct Incoming {
    wire::FrameHeader header;
    FrameSink::Target target;
    iovec memory;
    std::span<iovec> rest;  // of `memory`
  };

  void CloseLent();
  net::Task<Status> Dial();
  net::Task<Status> ReadFrames();
  // Takes the frames that are here, up to one that is borrowed.
  Status TakeFrames();
  void BeginFrame(const wire::FrameHeader& header);
  void ReceiveInto(FrameSink::Target target);
  void EndFrame();
  // What an answer tells of the node's memory.
  void NoteFill(const wire::FrameHeader& header);
  void BorrowerGone();
  net::Task<> FlushAll();
  Status FlushSome();  // until nothing is queued or the socket is full
  // Ends the connection, if there is one; Run() notices it soon and disconnects.
  void Break();
  void Disconnect();

  net::EventLoop& loop_;
  NodeShared& shared_;
  LinkOptions options_;
  Random random_;
  policy::Backoff backoff_;

  Epoch epoch_;
  InstanceId instance_;
  net::HostPort address_;
  std::optional<net::Socket> socket_;
  std::optional<net::FrameReader> reader_;
  std::shared_ptr<const SharedMemory> memory_;  // while connected
  std::shared_ptr<LentMemory> lent_;            // the same, once it was asked for
  std::weak_ptr<LentMemory> lent_before_;       // of the last connection; somebody may write there
  bool connected_ = false;
  bool broken_ = false;  // the connection is at its end, and Run() will notice
  bool stopping_ = false;
  bool suspect_ = false;
  bool flushing_ = false;

  Gate gate_;
  std::function<void()> on_awake_;
  bool demanded_ = false;
  TimePoint demanded_at_{};
  bool answers_here_ = false;  // as the gate closed: some of what was sent is not taken yet
  std::vector<Arrived> arrived_;

  std::unordered_map<std::uint64_t, Sink> sinks_;
  std::uint64_t last_request_ = 0;
  std::uint64_t granted_up_to_ = 0;  // the last request that was allowed to send
  bool grant_pending_ = false;       // until the link is connected
  std::deque<Outgoing> queue_;
  std::deque<Outgoing> waiting_;  // of requests that are not granted yet
  std::size_t queued_bytes_ = 0;  // of both

  std::optional<Incoming> incoming_;    // the frame whose payload comes in, or is borrowed
  std::uint64_t borrowed_request_ = 0;  // 0: nothing is borrowed
  std::size_t borrowers_ = 0;           // requests whose sinks borrow
  bool borrow_awaited_ = false;
  net::Notification borrow_changed_;
  net::Notification instance_changed_;
  net::Notification flush_ended_;
};

}  // namespace infinicache::pool
