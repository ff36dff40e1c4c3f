#include "cache/send_object.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cache/mapped_reader.h"
#include "cache/object_reader.h"
#include "cache/splice_relay.h"

namespace infinicache::cache {
namespace {

using Outcome = SendResult::Outcome;

// The part of `row`'s bytes that lies in [offset, offset + length) of the object. Returns its size.
std::uint64_t AppendRange(const ObjectReader::RowBytes& row, std::uint64_t row_offset,
                          std::uint64_t offset, std::uint64_t length, std::vector<iovec>& out) {
  std::uint64_t appended = 0;
  std::uint64_t at = row_offset;
  for (std::span<const std::byte> piece : row.pieces) {
    const std::uint64_t begin = std::clamp(offset, at, at + piece.size());
    const std::uint64_t end = std::clamp(offset + length, at, at + piece.size());
    if (begin < end) {
      out.push_back(net::ToIovec(piece.subspan(begin - at, end - begin)));
      appended += end - begin;
    }
    at += piece.size();
  }
  return appended;
}

// Loses the object if too few of its chunks survive; tells the counters why it could not be read.
void CountMiss(Worker& worker, const ObjectRef& record, const Error& error) {
  if (error.code != ErrorCode::kNotFound) {
    Add(worker.stats().misses_unavailable);
    return;
  }
  Add(worker.stats().misses_lost);
  worker.Lose(record);
}

// One reply under way: what is left of it.
struct Reply {
  Worker& worker;
  ObjectRef record;
  std::uint64_t offset;
  std::uint64_t length;
  net::Socket& client;
  std::string& output;
  std::string_view head;
  std::string_view tail;
  bool coalesce = false;    // it is short, and goes out with others
  bool started = false;     // the head is sent, or appended
  std::uint64_t avoid = 0;  // chunks that are known to be late
};

// What is before the next bytes.
void BeginPieces(const Reply& reply, std::vector<iovec>& pieces) {
  pieces.clear();
  if (reply.started) return;
  if (!reply.coalesce) pieces.push_back(net::ToIovec(reply.output));
  pieces.push_back(net::ToIovec(reply.head));
}

// Sends the pieces, of which `bytes` are the object's next ones, and what is behind the last.
net::Task<Status> SendPieces(Reply& reply, std::vector<iovec>& pieces, std::uint64_t bytes) {
  reply.offset += bytes;
  reply.length -= bytes;
  if (reply.length == 0) pieces.push_back(net::ToIovec(reply.tail));
  const bool first = !std::exchange(reply.started, true);
  if (reply.coalesce) {
    for (const iovec& piece : pieces)
      reply.output.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
    co_return Status{};
  }
  auto sent = co_await reply.client.WriteAll(pieces);
  if (first) reply.output.clear();
  co_return sent;
}

// Sends what can be read where it lies; the rest is left.
net::Task<Status> SendMapped(Reply& reply) {
  MappedReader reader(reply.worker, reply.record, reply.offset, reply.length);
  if (!co_await reader.Open()) co_return Status{};
  std::vector<iovec> pieces;
  while (reader.bytes_left() > 0) {
    BeginPieces(reply, pieces);
    const std::size_t bytes = co_await reader.Next(pieces);
    if (bytes == 0) break;
    if (auto status = co_await SendPieces(reply, pieces, bytes); !status) co_return status;
  }
  if (reader.bytes_left() == 0) Add(reply.worker.stats().mapped_reads);
  if (reader.degraded()) Add(reply.worker.stats().degraded_reads);
  co_return Status{};
}

// Sends what is left of the reply through memory.
net::Task<SendResult> SendRows(Reply& reply) {
  Worker& worker = reply.worker;
  const coding::StripeLayout& layout = reply.record->layout();
  ObjectReader reader(worker, reply.record, layout.RowOfOffset(reply.offset),
                      layout.RowOfOffset(reply.offset + reply.length - 1) + 1, reply.avoid);
  std::vector<iovec> pieces;
  while (reader.rows_left() > 0) {
    const auto row = co_await reader.Next(net::EventLoop::Now() + worker.options().node_timeout);
    if (!row) {
      CountMiss(worker, reply.record, row.error());
      if (!reply.started) co_return SendResult{Outcome::kMissing, row.error()};
      Add(worker.stats().broken_reads);
      co_return SendResult{Outcome::kBroken, row.error()};
    }
    BeginPieces(reply, pieces);
    const std::uint64_t bytes =
        AppendRange(*row, layout.RowOffset(row->row), reply.offset, reply.length, pieces);
    if (auto status = co_await SendPieces(reply, pieces, bytes); !status)
      co_return SendResult{Outcome::kBroken, status.error()};
  }
  if (reader.degraded()) Add(worker.stats().degraded_reads);
  co_return SendResult{};
}

}  // namespace

net::Task<SendResult> SendObject(Worker& worker, ObjectRef record, std::uint64_t offset,
                                 std::uint64_t length, net::Socket& client, std::string& output,
                                 std::string_view head, std::string_view tail) {
  CHECK(offset + length <= record->bytes());
  if (length == 0) {
    output.append(head).append(tail);
    co_return SendResult{};
  }
  Reply reply{worker, record, offset, length, client, output, head, tail};
  reply.coalesce = length <= kCoalescedBytesMax;
  if (auto status = co_await SendMapped(reply); !status)
    co_return SendResult{Outcome::kBroken, status.error()};
  if (reply.length == record->bytes() && SpliceRelay::Suits(worker, *record)) {
    SpliceRelay::Outcome relayed;
    {
      SpliceRelay relay(worker, record, client);
      relayed = co_await relay.Run(output, head);
    }
    if (relayed.client_gone)
      co_return SendResult{Outcome::kBroken, {ErrorCode::kCancelled, "the client went away"}};
    reply.started = relayed.started;
    reply.offset += relayed.bytes_sent;
    reply.length -= relayed.bytes_sent;
    reply.avoid = relayed.late_chunks;
    if (reply.started) output.clear();
    if (reply.length == 0) {
      iovec piece = net::ToIovec(tail);
      if (auto status = co_await client.WriteAll(std::span(&piece, 1)); !status)
        co_return SendResult{Outcome::kBroken, status.error()};
    }
  }
  SendResult result;
  if (reply.length > 0) result = co_await SendRows(reply);
  if (result.outcome == Outcome::kDone) Add(worker.stats().bytes_read, length);
  co_return result;
}

}  // namespace infinicache::cache
