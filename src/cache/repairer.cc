#include "cache/repairer.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "base/log.h"
#include "cache/chunk_upload.h"
#include "cache/object_reader.h"
#include "cache/repair_queue.h"
#include "coding/crc32c.h"

namespace infinicache::cache {
namespace {

// Unsent bytes per link above which repair waits: it must not crowd out user traffic.
constexpr std::size_t kQueuedBytesMax = 1 * kMiB;
constexpr Duration kPoll = std::chrono::milliseconds(2);
constexpr Duration kStallAfter = std::chrono::seconds(2);
// How soon a repair under way notices that it is to stop; longer than any hedge delay, which starts
// anew at each check.
constexpr Duration kStopCheckEvery = std::chrono::milliseconds(1500);

}  // namespace

void Repairer::Stop() {
  stopping_ = true;
  wake_.Notify();
}

net::Task<> Repairer::Run() {
  RepairQueue& queue = *worker_.shared().repairs;
  while (!stopping_) {
    TimePoint next;
    const ObjectRef object = queue.Take(net::EventLoop::Now(), &next);
    if (object == nullptr) {
      co_await wake_.Wait(next);
      continue;
    }
    if (co_await Repair(object)) {
      object->repair_pending = false;
      // What was lost meanwhile was not queued, as the object was being repaired.
      if (!worker_.IsWhole(*object) && worker_.shared().directory.IsCurrent(object))
        queue.Add(object);
    } else {
      Add(worker_.stats().repairs_failed);
      queue.AddLater(object, net::EventLoop::Now());
    }
  }
}

net::Task<bool> Repairer::Repair(const ObjectRef& object) {
  if (!worker_.shared().directory.IsCurrent(object)) co_return true;
  std::vector<std::size_t> missing;
  std::vector<NodeId> holders;
  for (std::size_t i = 0; i < object->width(); ++i) {
    const pool::Place place = object->place(i);
    if (worker_.Survives(place)) {
      holders.push_back(place.node);
    } else {
      missing.push_back(i);
    }
  }
  if (missing.empty()) co_return true;
  if (holders.size() < object->layout().code.data) {
    if (worker_.Lose(object)) {
      LOG_WARN_EVERY(std::chrono::seconds(1), "object lost: {} of {} chunks survive, {} are needed",
                     holders.size(), object->width(), object->layout().code.data);
    }
    co_return true;
  }
  const auto nodes = worker_.ChooseNodes(missing.size(), object->StoredBytes(missing[0]), holders);
  if (nodes.empty()) co_return false;
  const std::size_t count = std::min(nodes.size(), missing.size());
  const Status status =
      co_await Recreate(object, std::span(missing).first(count), std::span(nodes).first(count));
  if (!status) LOG_DEBUG("repair failed: {}", status.error().ToString());
  co_return status.has_value() && count == missing.size();
}

net::Task<Result<ObjectReader::RowBytes>> Repairer::NextRow(ObjectReader& reader,
                                                            TimePoint deadline,
                                                            std::uint64_t wanted) {
  for (;;) {
    auto row =
        co_await reader.Next(std::min(deadline, net::EventLoop::Now() + kStopCheckEvery), wanted);
    if (row || row.error().code != ErrorCode::kDeadlineExceeded) co_return row;
    if (stopping_ || net::EventLoop::Now() >= deadline) co_return row;
  }
}

// Waits until `bytes` may be sent; returns for how long.
net::Task<Duration> Repairer::Throttle(std::uint64_t bytes) {
  const TimePoint begin = net::EventLoop::Now();
  const TimePoint end = begin + worker_.shared().repairs->Throttle(bytes, begin);
  while (!stopping_ && net::EventLoop::Now() < end) {
    co_await worker_.loop().Sleep(std::min<Duration>(end - net::EventLoop::Now(), kStopCheckEvery));
  }
  co_return net::EventLoop::Now() - begin;
}

// Whether `upload` takes too long. A node that takes nothing for kStallAfter is not chosen again as
// long as it gives no sign of life.
bool Repairer::GiveUp(ChunkUpload& upload, TimePoint& moved_at, TimePoint deadline) {
  const TimePoint now = net::EventLoop::Now();
  if (upload.HasMoved()) moved_at = now;
  const bool stalled = now - moved_at > kStallAfter;
  if (stalled) upload.link().Suspect();
  return stalled || stopping_ || now > deadline;
}

net::Task<Status> Repairer::Recreate(const ObjectRef& object, std::span<const std::size_t> chunks,
                                     std::span<const NodeId> nodes) {
  const coding::StripeLayout& layout = object->layout();
  TimePoint deadline = net::EventLoop::Now() + worker_.options().node_timeout +
                       std::chrono::microseconds(layout.object_bytes / 10);  // 10 MB/s at the least
  net::Notification changed(worker_.loop());
  std::vector<std::unique_ptr<ChunkUpload>> uploads;
  std::uint64_t wanted = 0;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    if (!worker_.links().at(nodes[i]).available())
      co_return Fail(ErrorCode::kUnavailable, "the node's link ended");
    uploads.push_back(std::make_unique<ChunkUpload>(worker_, object, chunks[i], nodes[i], changed));
    uploads.back()->set_cause(policy::Cause::kRepair);
    wanted |= std::uint64_t{1} << chunks[i];
  }
  if (layout.rows() == 0) {
    for (const auto& upload : uploads) upload->SendEmpty();
  }
  ObjectReader reader(worker_, object, 0, layout.rows());
  reader.set_cause(policy::Cause::kRepair);
  while (reader.rows_left() > 0) {
    const auto row = co_await NextRow(reader, deadline, wanted);
    if (!row) co_return tl::make_unexpected(row.error());
    std::uint64_t row_bytes = 0;
    for (const std::size_t chunk : chunks) row_bytes += layout.StripBytes(row->row, chunk);
    deadline += co_await Throttle(row_bytes);
    if (stopping_) co_return Fail(ErrorCode::kCancelled, "the server stops");
    for (std::size_t i = 0; i < uploads.size(); ++i) {
      const std::uint32_t bytes = layout.StripBytes(row->row, chunks[i]);
      uploads[i]->Send(row->strips, coding::Crc32c({row->strips->strip(chunks[i]), bytes}));
      Add(worker_.stats().repair_bytes, bytes);
      TimePoint moved_at = net::EventLoop::Now();
      while (uploads[i]->state() == ChunkUpload::State::kWriting &&
             uploads[i]->link().queued_bytes() > kQueuedBytesMax) {
        if (GiveUp(*uploads[i], moved_at, deadline))
          co_return Fail(ErrorCode::kDeadlineExceeded, "the node takes no bytes");
        co_await worker_.loop().Sleep(kPoll);
      }
    }
  }
  for (const auto& upload : uploads) {
    TimePoint moved_at = net::EventLoop::Now();
    while (upload->state() == ChunkUpload::State::kWriting) {
      if (co_await changed.Wait(net::EventLoop::Now() + kStopCheckEvery)) continue;
      if (GiveUp(*upload, moved_at, deadline))
        co_return Fail(ErrorCode::kDeadlineExceeded, "the node did not store the chunk");
    }
    if (upload->state() == ChunkUpload::State::kFailed)
      co_return tl::make_unexpected(upload->error());
    Add(worker_.stats().chunks_repaired);
  }
  co_return Status{};
}

}  // namespace infinicache::cache
