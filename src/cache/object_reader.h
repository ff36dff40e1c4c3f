// Reads an object's rows from any d of its d+p chunks.
//
//   ObjectReader reader(worker, record, first_row, end_row);
//   while (reader.rows_left() > 0) {
//     auto row = co_await reader.Next(deadline);
//     … row->pieces are the row's object bytes, in order …
//   }
//
// Data chunks are asked first; a chunk that is missing, lost, late (policy::HedgeDelay) or corrupt
// is replaced by another, and what is missing of a row is decoded as soon as any d of its strips
// are there. Each strip's checksum is verified when it has arrived. Up to kRowsAhead rows are in
// memory at once, fewer when the worker's budget is tight.
//
// What a read shows to be missing is noted in the record and queued for repair. Errors of Next:
// kNotFound (fewer than d chunks survive: the object is lost), kUnavailable (enough survive, but
// too few answer), kDeadlineExceeded.
//
// Thread-safety: one event loop, one coroutine. The rows' memory is valid until the next call of
// Next.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/limits.h"
#include "cache/object.h"
#include "cache/row.h"
#include "cache/worker.h"
#include "pool/link.h"

namespace infinicache::cache {

class ObjectReader final : public pool::FrameSink {
 public:
  static constexpr std::size_t kRowsAhead = 16;

  struct RowBytes {
    std::uint64_t row = 0;
    std::vector<std::span<const std::byte>> pieces;  // the row's object bytes
    std::shared_ptr<Row> strips;                     // all strips in `present` are in place
  };

  // Reads rows [first_row, end_row). `avoid` has a bit for each chunk that is not to be asked first
  // (it is known to be late). REQUIRES: the worker outlives the reader.
  ObjectReader(Worker& worker, ObjectRef record, std::uint64_t first_row, std::uint64_t end_row,
               std::uint64_t avoid = 0);
  ~ObjectReader();

  // The next row. With bits in `wanted` those chunks' strips are made too, parity included (for
  // repair).
  net::Task<Result<RowBytes>> Next(TimePoint deadline, std::uint64_t wanted = 0);

  // What it reads for; serving, if nobody says. Before the first Next.
  void set_cause(policy::Cause cause) { cause_ = cause; }

  std::uint64_t rows_left() const { return end_row_ - next_row_; }
  // Whether anything had to be decoded, or another replica read than the first choice.
  bool degraded() const { return degraded_; }

 private:
  policy::Cause cause() const override { return cause_; }

  struct Pending {
    std::shared_ptr<Row> row;
    std::uint64_t present = 0;    // strips in place and verified
    std::uint64_t asked = 0;      // requested, not yet here
    std::uint64_t receiving = 0;  // a link is writing into this strip's memory
  };
  struct Request {
    std::size_t chunk;
    pool::Link* link;
    std::uint64_t first_row;
    std::uint64_t end_row;
  };

  Target OnData(pool::Link& link, const wire::FrameHeader& header) override;
  void OnFrame(pool::Link& link, const wire::FrameHeader& header) override;
  void OnLinkLost(pool::Link& link, std::uint64_t request) override;

  bool AwaitsWaking();
  net::Task<Status> ExtendWindow(TimePoint deadline);
  bool AddRow();
  Status ChooseChunks();
  void AskFor(std::size_t chunk);
  void Drop(std::size_t chunk, bool missing, pool::Place place);
  void Hedge();
  RowBytes TakeFront(std::uint64_t wanted);
  Pending* Find(std::uint64_t row);
  std::size_t data() const { return record_->layout().code.data; }
  std::uint64_t AllChunks() const { return (std::uint64_t{1} << record_->width()) - 1; }

  Worker& worker_;
  ObjectRef record_;
  std::uint64_t next_row_;  // the next to hand out
  std::uint64_t end_row_;
  std::uint64_t window_end_;  // rows below this are in pending_ or handed out
  std::deque<Pending> pending_;
  std::shared_ptr<RowWindow> window_;
  net::Notification progress_;

  std::uint64_t active_ = 0;  // chunks that are asked for further rows
  std::uint64_t failed_ = 0;  // chunks that cannot be read
  std::uint64_t late_ = 0;    // asked, but overtaken; their late strips are welcome
  std::uint64_t first_choice_;
  std::vector<std::uint64_t> asked_to_;  // per chunk: rows below this are asked
  // Requests by link and id (ids are unique per link only).
  std::unordered_map<pool::Link*, std::unordered_map<std::uint64_t, Request>> requests_;
  bool degraded_ = false;
  policy::Cause cause_ = policy::Cause::kServing;
  TimePoint last_arrival_;  // or when the wait began
  bool waiting_ = false;
  bool wake_awaited_ = false;  // a node that sleeps is no late one
};

}  // namespace infinicache::cache
