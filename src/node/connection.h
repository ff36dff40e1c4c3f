// One link, seen from the node: serves the proxy's requests on the chunk store.
//
// A reader coroutine takes frames in order and receives strips straight into chunk memory. Answers
// are sent by whoever has one, as far as the socket takes them at once; a writer coroutine waits
// for room for the rest. Short ones go first, then one strip of each running kGet in turn, so that
// no request waits long behind another. Each strip is verified just before it is sent: the check
// brings it into the cache, from where the send copies it.
//
// Requests begin only while a session runs (SessionHost); those that come at other times wait in
// the socket. A request is finished when the socket has its answer. The control link carries the
// session's own messages besides. A sync link, by which another instance backs itself up here, is
// one request from its beginning to its end.
//
// Bounds: kStreamsMax running kGet requests per link and kRepliesMax unsent short answers; beyond
// these the link closes. Chunks that are incomplete when the link ends are dropped.
//
// Thread-safety: none; one event loop. The connection lives until Run() ends.
#pragma once

#include <unistd.h>

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "net/frame_reader.h"
#include "net/notification.h"
#include "net/socket.h"
#include "node/chunk_store.h"
#include "node/inventory.h"
#include "node/memory_lender.h"
#include "node/session_host.h"
#include "wire/frame.h"
#include "wire/node_status.h"
#include "wire/sync_frames.h"

namespace infinicache::node {

class Connection;

// What every link of a node shares.
struct NodeContext {
  ChunkStore& store;
  SessionHost& sessions;
  NodeId node;
  InstanceId instance;
  std::string secret;
  bool test_hooks = false;         // obey kCorruptForTest
  MemoryLender* lender = nullptr;  // null: the memory is private
  std::uint32_t answers = 0;       // that told the node's fill, of all links
  // Of whose chunks the store is a copy. Not any more once somebody else changes it.
  wire::SyncState copy_of = {};
  // All that was written to the node after this version, and not freed, is here. Zero: not known,
  // since the proxy has not said so, or the store is a copy.
  Version since = {};
  bool sync_open = false;  // a round is under way, and nobody else has changed the store in it
  // The proxy begins a backup in which this instance takes part.
  std::function<void(const wire::SyncCommand&)> on_sync = {};
  // The proxy says that the backup of a session is over, and the peer has returned.
  std::function<void(SessionId)> on_sync_over = {};
  // The link by which another instance backs itself up here; told when there is one.
  Connection* sync_link = nullptr;
  std::function<void()> on_sync_linked = {};

  wire::NodeStatus Status() const {
    wire::NodeStatus status{node, instance, store.bytes_limit(), store.bytes_used(),
                            store.chunks()};
    if (const SharedMemory* memory = store.shared_memory(); memory != nullptr) {
      status.memory_pid = static_cast<std::uint32_t>(getpid());
      status.memory_fd = static_cast<std::uint32_t>(memory->fd());
    }
    return status;
  }
};

class Connection final : private SessionHost::Control {
 public:
  static constexpr std::size_t kStreamsMax = 4096;
  static constexpr std::size_t kRepliesMax = 65536;
  static constexpr std::size_t kIncompleteChunksMax = 4096;
  static constexpr std::size_t kInventoryRepliesMax = 4;  // unsent

  Connection(NodeContext& context, net::Socket socket);
  ~Connection() override;

  // Accepted from the proxy: authenticates it and serves it until the link ends; returns why.
  net::Task<Error> Run();
  // Dialled to the proxy as link `number`: the same. `linked` is called when the link stands.
  net::Task<Error> RunDialled(std::uint16_t number, std::function<void()> linked);
  // Dialled to the proxy's relay, behind which the source of a backup is: the same.
  net::Task<Error> RunSynced(const wire::SyncToken& token);
  // Makes Run() end soon.
  void Close();
  // Whether the peer has ended the connection, which a thawed process may not have noticed yet.
  bool IsDead();

 private:
  struct Stream {  // a running kGet
    std::uint64_t request;
    std::shared_ptr<const Chunk> chunk;
    std::size_t next_strip;
    std::size_t end_strip;
  };
  struct Reply {
    std::array<std::byte, wire::kFrameHeaderBytes> header;
    std::string meta;
  };
  // A chunk on its way in; null if it was refused.
  using Incoming = std::shared_ptr<Chunk>;

  net::Task<Error> Serve(std::uint16_t number);
  net::Task<Status> ServeFrames();
  net::Task<Status> AwaitSession();
  void BeginRequest();
  void FinishRequest();
  void SendControl(const wire::FrameHeader& header, std::string meta) override;
  void HandlePing(const wire::FrameHeader& header);
  void HandleSince(const wire::FrameHeader& header);
  // A chunk of this version was here and is not any more, though nobody freed it.
  void NoteMissing(Version version);
  void EraseIncoming(const ChunkId& chunk);
  net::Task<Status> HandlePut(const wire::FrameHeader& header);
  net::Task<Status> HandleDelete(const wire::FrameHeader& header);
  Status HandleGet(const wire::FrameHeader& header);
  void HandleCancel(const wire::FrameHeader& header);
  net::Task<Status> HandleSetExpiry(const wire::FrameHeader& header);
  Status HandleInventory(const wire::FrameHeader& header);
  void HandleLocate(const wire::FrameHeader& header);
  net::Task<Status> HandleLend(const wire::FrameHeader& header);
  void DrainLent();
  net::Task<Status> HandleSync(const wire::FrameHeader& header);
  void HandleSyncState(const wire::FrameHeader& header);
  void BeginSync();
  void EndSync();
  // The store was changed by this link.
  void NoteChange();
  Result<Incoming> BeginChunk(const wire::FrameHeader& header, std::string_view meta);
  net::Task<Result<std::string>> ReadMeta(const wire::FrameHeader& header);

  void ReplyOk(wire::FrameType type, const wire::FrameHeader& to, std::string meta = {});
  void ReplyError(const wire::FrameHeader& to, const Error& error);
  void Enqueue(const wire::FrameHeader& header, std::string meta);

  // Waits for room in the socket and sends on.
  net::Task<> Write();
  // Sends answers until there is none left or the socket is full.
  Status SendSome();
  // Puts what comes next into unsent_; false if there is nothing.
  bool TakeReplies();
  bool TakeStrip();

  NodeContext& context_;
  net::Socket socket_;
  net::FrameReader reader_;
  std::unordered_map<ChunkId, Incoming, ChunkIdHash> incoming_;
  std::vector<iovec> put_pieces_;  // where the strip that comes in goes
  std::vector<Reply> replies_;
  std::deque<Stream> streams_;
  Inventory inventory_;
  // What is being sent: its pieces, and the memory behind them.
  std::span<iovec> unsent_;
  std::vector<iovec> pieces_;
  std::vector<Reply> sending_replies_;
  std::array<std::byte, wire::kFrameHeaderBytes> strip_header_;
  std::shared_ptr<const Chunk> sending_chunk_;
  net::Notification blocked_;  // the socket is full, or the link ends
  net::Notification writer_ended_;
  net::Notification session_began_;
  std::size_t requests_ = 0;     // begun and not finished
  std::size_t answered_ = 0;     // of these: nothing is left but to send what is in hand
  bool reader_goes_on_ = false;  // among these answers is a part of a chunk, without its end
  bool is_control_ = false;
  bool is_sync_ = false;
  SessionId sync_session_;
  bool closing_ = false;
};

}  // namespace infinicache::node
