#include "cache/object_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "cache/repair_queue.h"
#include "coding/crc32c.h"

namespace infinicache::cache {
namespace {

constexpr std::uint64_t Bit(std::size_t chunk) {
  return std::uint64_t{1} << chunk;
}

// How long a read waits for links to come back when the surviving chunks' nodes are out of reach.
constexpr Duration kReconnectPoll = std::chrono::milliseconds(20);

}  // namespace

ObjectReader::ObjectReader(Worker& worker, ObjectRef record, std::uint64_t first_row,
                           std::uint64_t end_row, std::uint64_t avoid)
    : worker_(worker),
      record_(std::move(record)),
      next_row_(first_row),
      end_row_(end_row),
      window_end_(first_row),
      window_(std::make_shared<RowWindow>(worker.loop())),
      progress_(worker.loop()),
      late_(avoid),
      asked_to_(record_->width(), first_row),
      last_arrival_(net::EventLoop::Now()) {
  CHECK(end_row <= record_->layout().rows());
  // Data chunks first. Replicas are all alike: which is first depends on the version, to spread the
  // load.
  first_choice_ =
      data() == 1 ? Bit(record_->version().value() % record_->width()) : Bit(data()) - 1;
}

ObjectReader::~ObjectReader() {
  for (auto& [link, requests] : requests_) {
    for (const auto& [id, request] : requests) {
      link->Forget(id);
      wire::FrameHeader cancel;
      cancel.type = wire::FrameType::kCancel;
      cancel.request = id;
      link->Send(cancel);
    }
  }
}

net::Task<Result<ObjectReader::RowBytes>> ObjectReader::Next(TimePoint deadline,
                                                             std::uint64_t wanted) {
  CHECK(rows_left() > 0);
  last_arrival_ = net::EventLoop::Now();  // what the client took is not the nodes' delay
  for (;;) {
    if (auto status = co_await ExtendWindow(deadline); !status)
      co_return tl::make_unexpected(status.error());
    Status chosen = ChooseChunks();
    if (!chosen && chosen.error().code == ErrorCode::kNotFound)
      co_return tl::make_unexpected(chosen.error());
    if (static_cast<std::size_t>(std::popcount(pending_.front().present)) >= data())
      co_return TakeFront(wanted);

    if (worker_.stopping()) co_return Fail(ErrorCode::kCancelled, "the server stops");
    const TimePoint now = net::EventLoop::Now();
    if (now >= deadline)
      co_return Fail(ErrorCode::kDeadlineExceeded, "the object's nodes did not answer in time");
    wake_awaited_ = AwaitsWaking();
    const Duration patience =
        !chosen ? kReconnectPoll
                : (wake_awaited_ ? worker_.WakePatience() : worker_.hedge_delay().Get());
    waiting_ = true;
    const bool progress = co_await progress_.Wait(
        std::min(deadline, std::max(last_arrival_, now - patience) + patience));
    waiting_ = false;
    if (progress) continue;
    if (!chosen) {
      // Links may come back, or the nodes turn out to be gone.
      failed_ = 0;
      if (net::EventLoop::Now() >= deadline) co_return tl::make_unexpected(chosen.error());
      last_arrival_ = net::EventLoop::Now();
      continue;
    }
    Hedge();
  }
}

// Whether the front row waits for a node that is being woken.
bool ObjectReader::AwaitsWaking() {
  const Pending& front = pending_.front();
  const std::uint64_t awaited = front.asked & ~front.present & active_;
  for (std::size_t i = 0; i < record_->width(); ++i) {
    if ((awaited & Bit(i)) == 0) continue;
    const pool::Link* link = worker_.LinkTo(record_->place(i));
    if (link != nullptr && link->waking()) return true;
  }
  return false;
}

net::Task<Status> ObjectReader::ExtendWindow(TimePoint deadline) {
  if (pending_.empty()) {
    const std::uint32_t unit = record_->layout().StripUnit(window_end_);
    if (auto status =
            co_await worker_.budget().Acquire(Row::Cost(record_->width(), unit), deadline);
        !status) {
      co_return status;
    }
    const bool added = AddRow();
    CHECK(added);
  }
  // In batches of half a window: each batch costs a request per chunk.
  if (pending_.size() > kRowsAhead / 2) co_return Status{};
  while (pending_.size() < kRowsAhead && window_end_ < end_row_) {
    const std::uint32_t unit = record_->layout().StripUnit(window_end_);
    if (!worker_.budget().TryAcquireSpare(Row::Cost(record_->width(), unit)) || !AddRow()) break;
  }
  co_return Status{};
}

bool ObjectReader::AddRow() {
  Pending& pending = pending_.emplace_back();
  const coding::StripeLayout& layout = record_->layout();
  pending.row = std::make_shared<Row>(worker_, window_, window_end_, record_->width(),
                                      layout.StripUnit(window_end_));
  // Data strips that the object's end leaves empty are known.
  for (std::size_t i = 0; i < data(); ++i) {
    if (layout.StripBytes(window_end_, i) > 0) continue;
    std::memset(pending.row->strip(i), 0, pending.row->unit());
    pending.present |= Bit(i);
  }
  ++window_end_;
  return true;
}

// Sees to it that d chunks are asked for every row of the window.
Status ObjectReader::ChooseChunks() {
  for (std::size_t i = 0; i < record_->width(); ++i) {
    if ((active_ & Bit(i)) != 0 && worker_.LinkTo(record_->place(i)) == nullptr) Drop(i, false, {});
  }
  while (static_cast<std::size_t>(std::popcount(active_)) < data()) {
    const std::uint64_t candidates = AllChunks() & ~active_ & ~failed_;
    // First choice, then the others, then those that were late.
    std::uint64_t preferred = candidates & first_choice_ & ~late_;
    if (preferred == 0) preferred = candidates & ~late_;
    if (preferred == 0) preferred = candidates;
    std::size_t chosen = record_->width();
    for (std::size_t i = 0; i < record_->width() && chosen == record_->width(); ++i) {
      if ((preferred & Bit(i)) == 0) continue;
      pool::Link* link = worker_.LinkTo(record_->place(i));
      if (link == nullptr) {
        failed_ |= Bit(i);
        preferred &= ~Bit(i);
      } else if (link->suspect() && (late_ & Bit(i)) == 0) {
        late_ |= Bit(i);
        preferred &= ~Bit(i);
      } else {
        chosen = i;
      }
    }
    if (chosen < record_->width()) {
      if ((first_choice_ & Bit(chosen)) == 0) degraded_ = true;
      active_ |= Bit(chosen);
      asked_to_[chosen] = std::min(asked_to_[chosen], next_row_);
      continue;
    }
    if ((AllChunks() & ~active_ & ~failed_) != 0) continue;  // some were put back behind the others
    break;
  }
  for (std::size_t i = 0; i < record_->width(); ++i) {
    if ((active_ & Bit(i)) != 0 && asked_to_[i] < window_end_) AskFor(i);
  }
  if (static_cast<std::size_t>(std::popcount(active_)) >= data()) return {};

  std::size_t surviving = 0;
  for (std::size_t i = 0; i < record_->width(); ++i) {
    if (worker_.Survives(record_->place(i))) ++surviving;
  }
  worker_.shared().repairs->Add(record_);
  if (surviving < data()) {
    return Fail(ErrorCode::kNotFound, fmt::format("{} of {} chunks survive; {} are needed",
                                                  surviving, record_->width(), data()));
  }
  return Fail(ErrorCode::kUnavailable, "too few of the object's nodes can be reached");
}

void ObjectReader::AskFor(std::size_t chunk) {
  const coding::StripeLayout& layout = record_->layout();
  const std::uint64_t first = asked_to_[chunk];
  std::uint64_t end = window_end_;
  asked_to_[chunk] = window_end_;
  while (end > first && layout.StripBytes(end - 1, chunk) == 0) --end;
  if (first == end) return;
  pool::Link* link = worker_.LinkTo(record_->place(chunk));
  if (link == nullptr) {  // the instance has ended since the chunk was chosen
    Drop(chunk, false, {});
    progress_.Notify();
    return;
  }
  const std::uint64_t id = link->Register(this);
  requests_[link].emplace(id, Request{chunk, link, first, end});
  for (std::uint64_t row = first; row < end; ++row) {
    if (Pending* pending = Find(row)) pending->asked |= Bit(chunk);
  }
  wire::FrameHeader get;
  get.type = wire::FrameType::kGet;
  get.request = id;
  get.chunk = record_->chunk(chunk);
  get.offset = layout.ChunkOffset(first);
  get.length = layout.ChunkOffset(end - 1) + layout.StripBytes(end - 1, chunk) - get.offset;
  link->Send(get);
}

ObjectReader::Pending* ObjectReader::Find(std::uint64_t row) {
  if (pending_.empty()) return nullptr;
  const std::uint64_t front = pending_.front().row->index();
  return row >= front && row - front < pending_.size() ? &pending_[row - front] : nullptr;
}

// The chunk cannot be read from its place: an erasure.
void ObjectReader::Drop(std::size_t chunk, bool missing, pool::Place place) {
  active_ &= ~Bit(chunk);
  failed_ |= Bit(chunk);
  asked_to_[chunk] = next_row_;
  for (Pending& pending : pending_) pending.asked &= ~Bit(chunk);
  if (!missing) return;
  record_->ClearPlace(chunk, place);
  worker_.shared().repairs->Add(record_);
}

// The front row waits for strips that are late against the others: asks other chunks for the same
// rows.
void ObjectReader::Hedge() {
  const Pending& front = pending_.front();
  const std::uint64_t overdue = front.asked & ~front.present & active_;
  const std::uint64_t spare = AllChunks() & ~active_ & ~failed_ & ~late_;
  if (overdue == 0 || spare == 0) {
    last_arrival_ = net::EventLoop::Now();  // nothing to race them with: wait on
    return;
  }
  std::size_t racers = static_cast<std::size_t>(std::popcount(spare));
  for (std::size_t i = 0; i < record_->width() && racers > 0; ++i) {
    if ((overdue & Bit(i)) == 0) continue;
    active_ &= ~Bit(i);
    late_ |= Bit(i);
    worker_.links().at(record_->place(i).node).Suspect();
    Add(worker_.stats().hedges);
    --racers;
  }
  last_arrival_ = net::EventLoop::Now();
}

pool::FrameSink::Target ObjectReader::OnData(pool::Link& link, const wire::FrameHeader& header) {
  const auto found = requests_[&link].find(header.request);
  if (found == requests_[&link].end()) return {};
  const std::size_t chunk = found->second.chunk;
  const coding::StripeLayout& layout = record_->layout();
  const std::uint64_t row = header.offset / layout.strip_bytes;
  Pending* pending = Find(row);
  if (pending == nullptr || (pending->present & Bit(chunk)) != 0 ||
      header.offset != layout.ChunkOffset(row) ||
      header.payload_bytes != layout.StripBytes(row, chunk)) {
    return {};
  }
  pending->receiving |= Bit(chunk);
  return {Target::Kind::kMemory, pending->row->strip(chunk), pending->row};
}

void ObjectReader::OnFrame(pool::Link& link, const wire::FrameHeader& header) {
  const auto found = requests_[&link].find(header.request);
  if (found == requests_[&link].end()) return;
  const std::size_t chunk = found->second.chunk;
  const TimePoint now = net::EventLoop::Now();
  if (waiting_ && !wake_awaited_) worker_.hedge_delay().Observe(now - last_arrival_);
  last_arrival_ = now;
  progress_.Notify();

  const pool::Place place = worker_.PlaceOn(*record_, chunk, link);
  if (header.type != wire::FrameType::kData) {
    LOG_DEBUG("chunk {} of an object is missing on node {}: {}", chunk, link.node().value(),
              ErrorCodeName(header.status.value_or(ErrorCode::kProtocol)));
    if (header.status == ErrorCode::kCorrupt) {
      infinicache::Add(worker_.stats().corrupt_strips);
      record_->ClearCorrupt(chunk, place);
    }
    link.Forget(header.request);
    requests_[&link].erase(found);
    Drop(chunk, true, place);
    return;
  }
  if ((header.flags & wire::kFlagLast) != 0) {
    link.Forget(header.request);
    requests_[&link].erase(found);
  }
  Pending* pending = Find(header.offset / record_->layout().strip_bytes);
  if (pending == nullptr || (pending->receiving & Bit(chunk)) == 0) return;
  pending->receiving &= ~Bit(chunk);
  std::byte* strip = pending->row->strip(chunk);
  if (coding::Crc32c({strip, header.payload_bytes}) != header.payload_crc) {
    infinicache::Add(worker_.stats().corrupt_strips);
    record_->ClearCorrupt(chunk, place);
    Drop(chunk, true, place);
    return;
  }
  std::memset(strip + header.payload_bytes, 0, pending->row->unit() - header.payload_bytes);
  pending->present |= Bit(chunk);
  pending->asked &= ~Bit(chunk);
}

void ObjectReader::OnLinkLost(pool::Link& link, std::uint64_t request) {
  auto& requests = requests_[&link];
  const auto found = requests.find(request);
  if (found == requests.end()) return;
  const std::size_t chunk = found->second.chunk;
  requests.erase(found);
  Drop(chunk, false, {});
  for (Pending& pending : pending_) pending.receiving &= ~Bit(chunk);
  progress_.Notify();
}

ObjectReader::RowBytes ObjectReader::TakeFront(std::uint64_t wanted) {
  Pending front = std::move(pending_.front());
  pending_.pop_front();
  ++next_row_;
  const coding::StripeLayout& layout = record_->layout();
  const std::uint64_t row = front.row->index();
  RowBytes result;
  result.row = row;
  result.strips = front.row;

  if (data() == 1 && wanted == 0) {  // any replica will do as it is
    const std::size_t replica = static_cast<std::size_t>(std::countr_zero(front.present));
    result.pieces.push_back({front.row->strip(replica), layout.RowBytes(row)});
    return result;
  }
  const std::uint64_t needed = (Bit(data()) - 1) | wanted;
  const std::uint64_t missing = needed & ~front.present;
  if (missing != 0) {
    degraded_ = true;
    // A late strip may still be arriving where the decoded one would go: such a row is decoded into
    // memory of its own.
    if ((missing & front.receiving) != 0) {
      const std::size_t cost = Row::Cost(record_->width(), front.row->unit());
      worker_.budget().ForceAcquire(cost);
      auto copy = std::make_shared<Row>(worker_, window_, row, record_->width(), front.row->unit());
      for (std::size_t i = 0; i < record_->width(); ++i) {
        if ((front.present & Bit(i)) != 0)
          std::memcpy(copy->strip(i), front.row->strip(i), front.row->unit());
      }
      front.row = copy;
      result.strips = copy;
    }
    std::array<std::byte*, kCodeWidthMax> strips{};
    for (std::size_t i = 0; i < record_->width(); ++i) strips[i] = front.row->strip(i);
    worker_.CodecFor(layout.code)
        .Reconstruct(std::span(strips).first(record_->width()), front.present, missing,
                     front.row->unit());
  }
  result.pieces.push_back({front.row->strip(0), layout.RowBytes(row)});
  return result;
}

}  // namespace infinicache::cache
