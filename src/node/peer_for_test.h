// For tests of this module: the proxy's end of a link, one call per step of the node protocol.
//
// It runs the loop while it waits (net/testing.h), so the node's end may live on the same loop. A
// failure that a test does not expect stops the program.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "base/result.h"
#include "coding/crc32c.h"
#include "net/frame_reader.h"
#include "net/handshake.h"
#include "net/socket.h"
#include "net/testing.h"
#include "wire/frame.h"
#include "wire/node_status.h"

namespace infinicache::node {

inline std::string ContentForTest(std::uint64_t seed, std::size_t bytes) {
  Random random(seed);
  std::string content(bytes, '\0');
  for (char& byte : content) byte = static_cast<char>(random());
  return content;
}

class PeerForTest {
 public:
  struct Answer {
    wire::FrameHeader header;
    std::string payload;
  };

  PeerForTest(net::EventLoop& loop, net::Socket socket)
      : loop_(loop), socket_(std::move(socket)), reader_(socket_, 4 * kKiB) {}

  Result<wire::NodeStatus> Authenticate(std::string_view secret) {
    return RunTask(loop_, net::HandshakeAsDialer(socket_, reader_, secret, net::TestDeadline()));
  }

  // Appends a frame to what Flush sends at once.
  void Queue(wire::FrameHeader header, std::string_view meta = {}, std::string_view data = {}) {
    header.meta_bytes = static_cast<std::uint32_t>(meta.size());
    header.payload_bytes = static_cast<std::uint32_t>(meta.size() + data.size());
    std::array<std::byte, wire::kFrameHeaderBytes> bytes;
    wire::EncodeFrameHeader(header, bytes);
    queue_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    queue_.append(meta).append(data);
  }
  void QueueBytes(std::string_view bytes) { queue_.append(bytes); }
  std::string TakeQueue() { return std::exchange(queue_, {}); }
  Status Flush() { return RunTask(loop_, Write(TakeQueue())); }
  Status Send(const wire::FrameHeader& header, std::string_view meta = {},
              std::string_view data = {}) {
    Queue(header, meta, data);
    return Flush();
  }

  // The next frame. Errors: the connection ended, or what came is no frame.
  Result<Answer> TryReceive() { return RunTask(loop_, Read()); }
  Answer Receive() {
    auto answer = TryReceive();
    CHECK(answer, "{}", answer.error().message);
    return std::move(*answer);
  }
  Answer Call(const wire::FrameHeader& header, std::string_view meta = {},
              std::string_view data = {}) {
    const Status sent = Send(header, meta, data);
    CHECK(sent, "{}", sent.error().message);
    return Receive();
  }

  // Queues the strips of a whole chunk.
  void QueuePut(std::uint64_t request, const ChunkId& id, const wire::ChunkMeta& meta,
                std::string_view content) {
    std::size_t offset = 0;
    do {
      QueueStrip(request, id, meta, content, offset);
      offset += meta.strip_bytes;
    } while (offset < content.size());
  }
  // Queues the strip of the chunk that begins at `offset`.
  void QueueStrip(std::uint64_t request, const ChunkId& id, const wire::ChunkMeta& meta,
                  std::string_view content, std::size_t offset) {
    const std::string_view strip = content.substr(offset, meta.strip_bytes);
    wire::FrameHeader header;
    header.type = wire::FrameType::kPut;
    header.request = request;
    header.chunk = id;
    header.offset = offset;
    header.length = strip.size();
    header.payload_crc = coding::Crc32c(std::as_bytes(std::span(strip)));
    if (offset + strip.size() == content.size()) header.flags |= wire::kFlagLast;
    std::string first;
    if (offset == 0) {
      header.flags |= wire::kFlagFirst;
      wire::AppendChunkMeta(meta, first);
    }
    Queue(header, first, strip);
  }
  Answer Put(const ChunkId& id, const wire::ChunkMeta& meta, std::string_view content) {
    QueuePut(++last_request_, id, meta, content);
    const Status sent = Flush();
    CHECK(sent, "{}", sent.error().message);
    return Receive();
  }

  // The answers to one kGet: strips up to the last one, or the error.
  std::vector<Answer> Get(const ChunkId& id, std::uint64_t offset, std::uint64_t length) {
    wire::FrameHeader header;
    header.type = wire::FrameType::kGet;
    header.request = ++last_request_;
    header.chunk = id;
    header.offset = offset;
    header.length = length;
    std::vector<Answer> answers = {Call(header)};
    while (answers.back().header.type == wire::FrameType::kData &&
           (answers.back().header.flags & wire::kFlagLast) == 0) {
      answers.push_back(Receive());
    }
    return answers;
  }

  net::Socket& socket() { return socket_; }

 private:
  net::Task<Status> Write(std::string bytes) {
    iovec piece = net::ToIovec(bytes);
    co_return co_await socket_.WriteAll(std::span(&piece, 1));
  }
  net::Task<Result<Answer>> Read() {
    const auto header = co_await reader_.ReadHeader();
    if (!header) co_return tl::make_unexpected(header.error());
    Answer answer{*header, std::string(header->payload_bytes, '\0')};
    auto status = co_await reader_.ReadPayload(std::as_writable_bytes(std::span(answer.payload)));
    if (!status) co_return tl::make_unexpected(status.error());
    co_return answer;
  }

  net::EventLoop& loop_;
  net::Socket socket_;
  net::FrameReader reader_;
  std::string queue_;
  std::uint64_t last_request_ = 1'000'000;
};

}  // namespace infinicache::node
