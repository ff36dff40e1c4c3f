#include "cache/send_object.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/check.h"
#include "cache/object_reader.h"

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
  if (worker.shared().directory.RemoveIfCurrent(record)) Add(worker.stats().losses);
}

}  // namespace

net::Task<SendResult> SendObject(Worker& worker, ObjectRef record, std::uint64_t offset,
                                 std::uint64_t length, net::Socket& client, std::string& output,
                                 std::string_view head, std::string_view tail) {
  const coding::StripeLayout& layout = record->layout();
  CHECK(offset + length <= layout.object_bytes);
  const bool coalesce = length <= kCoalescedBytesMax;
  if (length == 0) {
    output.append(head).append(tail);
    co_return SendResult{};
  }
  ObjectReader reader(worker, record, layout.RowOfOffset(offset),
                      layout.RowOfOffset(offset + length - 1) + 1);
  bool started = false;
  while (reader.rows_left() > 0) {
    const auto row = co_await reader.Next(net::EventLoop::Now() + worker.options().node_timeout);
    if (!row) {
      CountMiss(worker, record, row.error());
      if (!started) co_return SendResult{Outcome::kMissing, row.error()};
      Add(worker.stats().broken_reads);
      co_return SendResult{Outcome::kBroken, row.error()};
    }
    std::vector<iovec> pieces;
    if (coalesce) {
      if (!started) output.append(head);
      AppendRange(*row, layout.RowOffset(row->row), offset, length, pieces);
      for (const iovec& piece : pieces)
        output.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
      if (reader.rows_left() == 0) output.append(tail);
      started = true;
      continue;
    }
    if (!started) {
      pieces.push_back(net::ToIovec(output));
      pieces.push_back(net::ToIovec(head));
    }
    AppendRange(*row, layout.RowOffset(row->row), offset, length, pieces);
    if (reader.rows_left() == 0) pieces.push_back(net::ToIovec(tail));
    started = true;
    if (auto status = co_await client.WriteAll(pieces); !status)
      co_return SendResult{Outcome::kBroken, status.error()};
  }
  if (!coalesce) output.clear();
  if (reader.degraded()) Add(worker.stats().degraded_reads);
  Add(worker.stats().bytes_read, length);
  co_return SendResult{};
}

}  // namespace infinicache::cache
