#include "cache/send_object.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/check.h"
#include "cache/object_reader.h"
#include "cache/splice_relay.h"

namespace infinicache::cache {
namespace {

using Outcome = SendResult::Outcome;

// The part of `row`'s bytes that lies in [offset, offset + length) of the object.
void AppendRange(const ObjectReader::RowBytes& row, std::uint64_t row_offset, std::uint64_t offset,
                 std::uint64_t length, std::vector<iovec>& out) {
  std::uint64_t at = row_offset;
  for (std::span<const std::byte> piece : row.pieces) {
    const std::uint64_t begin = std::clamp(offset, at, at + piece.size());
    const std::uint64_t end = std::clamp(offset + length, at, at + piece.size());
    if (begin < end) out.push_back(net::ToIovec(piece.subspan(begin - at, end - begin)));
    at += piece.size();
  }
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

// One reply under way.
struct Reply {
  Worker& worker;
  ObjectRef record;
  std::uint64_t offset;
  std::uint64_t length;
  net::Socket& client;
  std::string& output;
  std::string_view head;
  std::string_view tail;
  bool started = false;     // the head is sent, or appended
  std::uint64_t avoid = 0;  // chunks that are known to be late
};

// Sends what is left of the reply through memory.
net::Task<SendResult> SendRows(Reply reply) {
  Worker& worker = reply.worker;
  const coding::StripeLayout& layout = reply.record->layout();
  const bool coalesce = !reply.started && reply.length <= kCoalescedBytesMax;
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
    pieces.clear();
    if (!reply.started && !coalesce) pieces.push_back(net::ToIovec(reply.output));
    if (!reply.started) pieces.push_back(net::ToIovec(reply.head));
    AppendRange(*row, layout.RowOffset(row->row), reply.offset, reply.length, pieces);
    if (reader.rows_left() == 0) pieces.push_back(net::ToIovec(reply.tail));
    reply.started = true;
    if (coalesce) {
      for (const iovec& piece : pieces)
        reply.output.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
      continue;
    }
    if (auto status = co_await reply.client.WriteAll(pieces); !status)
      co_return SendResult{Outcome::kBroken, status.error()};
  }
  if (!coalesce) reply.output.clear();
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
  if (length == record->bytes() && SpliceRelay::Suits(worker, *record)) {
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
  }
  SendResult result;
  if (reply.length > 0) {
    result = co_await SendRows(reply);
  } else {
    iovec piece = net::ToIovec(tail);
    if (auto status = co_await client.WriteAll(std::span(&piece, 1)); !status)
      result = {Outcome::kBroken, status.error()};
  }
  if (result.outcome == Outcome::kDone) Add(worker.stats().bytes_read, length);
  co_return result;
}

}  // namespace infinicache::cache
