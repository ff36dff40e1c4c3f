#include "cache/splice_relay.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "cache/repair_queue.h"
#include "coding/crc32c.h"

namespace infinicache::cache {
namespace {

// What is gathered before it is sent on: few system calls, and the bytes stay in the L2 cache.
constexpr std::size_t kPipeBytesMax = 512 * kKiB;

}  // namespace

SpliceRelay::Held::Held(Worker& w, std::size_t size)
    : worker(w), bytes(size), buffer(w.buffers().Allocate(size)) {}

SpliceRelay::Held::~Held() {
  buffer.Reset();
  worker.budget().Release(bytes);
}

bool SpliceRelay::Suits(Worker& worker, const ObjectRecord& record) {
  const std::size_t data = record.layout().code.data;
  if (record.bytes() < kObjectBytesMin || data == 1) return false;
  for (std::size_t i = 0; i < data; ++i) {
    const pool::Link* link = worker.LinkTo(record.place(i));
    if (link == nullptr || link->suspect()) return false;
  }
  return true;
}

SpliceRelay::SpliceRelay(Worker& worker, ObjectRef record, net::Socket& client)
    : worker_(worker),
      record_(std::move(record)),
      client_(client),
      lanes_(record_->layout().code.data),
      progress_(worker.loop()) {
  for (std::size_t i = 0; i < lanes_.size(); ++i)
    lanes_[i].link = worker_.LinkTo(record_->place(i));
}

SpliceRelay::~SpliceRelay() {
  for (Lane& lane : lanes_) Cancel(lane);
  if (pipe_) worker_.ReturnPipe(std::move(*pipe_));
}

net::Task<SpliceRelay::Outcome> SpliceRelay::Run(std::string_view output, std::string_view head) {
  auto pipe = worker_.TakePipe();
  if (!pipe) co_return outcome_;
  pipe_.emplace(std::move(*pipe));
  for (std::size_t i = 0; i < lanes_.size(); ++i) AskNextBatch(i);
  if (co_await AwaitFirstStrips()) co_await Relay(output, head);
  co_return outcome_;
}

net::Task<bool> SpliceRelay::AwaitFirstStrips() {
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    turn_ = i;
    while (!lanes_[i].HasStrip() && record_->layout().StripBytes(0, i) > 0) {
      if (lanes_[i].request == 0) AskNextBatch(i);
      if (!co_await AwaitProgress(i)) co_return false;
    }
  }
  co_return !failed_;
}

net::Task<> SpliceRelay::Relay(std::string_view output, std::string_view head) {
  std::array<iovec, 2> pieces = {net::ToIovec(output), net::ToIovec(head)};
  outcome_.started = true;
  if (auto status = co_await client_.WriteAll(pieces, /*more=*/true); !status) {
    outcome_.client_gone = true;
    co_return;
  }
  const coding::StripeLayout& layout = record_->layout();
  bool going = true;
  for (std::uint64_t row = 0; row < layout.rows() && going; ++row) {
    for (std::size_t i = 0; i < lanes_.size() && going; ++i)
      going = co_await MoveStrip(i, layout.StripBytes(row, i));
  }
  // Also after a failure: what was taken from the nodes' sockets is in order.
  if (!outcome_.client_gone) co_await DrainPipe();
}

// Moves the rest of the chunk's next strip. False: the relay ends.
net::Task<bool> SpliceRelay::MoveStrip(std::size_t chunk, std::size_t bytes) {
  Lane& lane = lanes_[chunk];
  turn_ = chunk;
  std::size_t left = bytes;
  while (left > 0) {
    bool going = !failed_;
    if (going && !lane.held.empty() && lane.held.front()->complete) {
      going = co_await SendHeld(chunk, left);
    } else if (going && lane.held.empty() && lane.borrowed) {
      going = co_await SpliceSome(chunk, left);
    } else if (going) {
      if (!lane.HasStrip() && lane.request == 0) AskNextBatch(chunk);
      going = co_await DrainPipe();
      // Whatever happened meanwhile notified.
      if (going) going = co_await AwaitProgress(chunk);
    }
    if (!going) co_return false;
  }
  co_return true;
}

net::Task<bool> SpliceRelay::SpliceSome(std::size_t chunk, std::size_t& left) {
  Lane& lane = lanes_[chunk];
  if (pipe_->size() >= kPipeBytesMax) co_return co_await DrainPipe();
  const auto moved = pipe_->Fill(lane.link->socket(), left);
  if (!moved) {
    lane.borrowed = false;
    lane.link->Receive({});  // the link finds the same error
    failed_ = true;
    co_return false;
  }
  if (*moved > 0) {
    left -= *moved;
    lane.link->reader().ConsumedOutside(*moved);
    if (left == 0) {
      lane.borrowed = false;
      lane.link->Release(std::exchange(lane.finished_request, 0) != 0);
    }
    co_return true;
  }
  // The pipe is full, or the socket empty.
  if (pipe_->size() > 0) co_return co_await DrainPipe();
  lane.link->AwaitBorrowed();
  co_return co_await AwaitProgress(chunk);
}

net::Task<bool> SpliceRelay::SendHeld(std::size_t chunk, std::size_t& left) {
  Lane& lane = lanes_[chunk];
  const std::shared_ptr<Held> held = lane.held.front();
  lane.held.pop_front();
  if (lane.held.empty() && lane.request == 0) AskNextBatch(chunk);
  CHECK(held->bytes == left);
  if (!co_await DrainPipe()) co_return false;
  iovec piece = net::ToIovec(std::span<const std::byte>(held->buffer.data(), held->bytes));
  if (auto status = co_await client_.WriteAll(std::span(&piece, 1), /*more=*/true); !status) {
    outcome_.client_gone = true;
    co_return false;
  }
  outcome_.bytes_sent += left;
  left = 0;
  co_return true;
}

net::Task<bool> SpliceRelay::DrainPipe() {
  while (pipe_->size() > 0) {
    const auto moved = pipe_->Drain(client_);
    if (moved && *moved > 0) {
      outcome_.bytes_sent += *moved;
      continue;
    }
    const Status status =
        moved ? co_await client_.WaitWritable() : Status(tl::make_unexpected(moved.error()));
    if (!status) {
      outcome_.client_gone = true;
      co_return false;
    }
  }
  co_return true;
}

// Waits until something happened. False: the chunk is late against what is usual, or the relay has
// failed.
net::Task<bool> SpliceRelay::AwaitProgress(std::size_t chunk) {
  if (failed_) co_return false;
  const TimePoint began = net::EventLoop::Now();
  const bool wakes = lanes_[chunk].link->waking();
  const bool notified = co_await progress_.Wait(
      began + (wakes ? worker_.WakePatience() : worker_.hedge_delay().Get()));
  if (notified) {
    if (!wakes) worker_.hedge_delay().Observe(net::EventLoop::Now() - began);
    co_return !failed_;
  }
  outcome_.late_chunks |= std::uint64_t{1} << chunk;
  lanes_[chunk].link->Suspect();
  Add(worker_.stats().hedges);
  failed_ = true;
  co_return false;
}

void SpliceRelay::AskNextBatch(std::size_t chunk) {
  const coding::StripeLayout& layout = record_->layout();
  Lane& lane = lanes_[chunk];
  const std::uint64_t first = lane.asked_to;
  std::uint64_t end = std::min(first + kRowsPerBatch, layout.rows());
  lane.asked_to = end;
  while (end > first && layout.StripBytes(end - 1, chunk) == 0) --end;
  if (first == end) return;
  if (lane.link == nullptr || worker_.LinkTo(record_->place(chunk)) != lane.link) {
    failed_ = true;
    return;
  }
  lane.request = lane.link->Register(this);
  wire::FrameHeader get;
  get.type = wire::FrameType::kGet;
  get.request = lane.request;
  get.chunk = record_->chunk(chunk);
  get.offset = layout.ChunkOffset(first);
  get.length = layout.ChunkOffset(end - 1) + layout.StripBytes(end - 1, chunk) - get.offset;
  lane.link->Send(get);
}

pool::FrameSink::Target SpliceRelay::OnData(pool::Link& link, const wire::FrameHeader& header) {
  const std::size_t chunk = ChunkOf(link);
  Lane& lane = lanes_[chunk];
  const coding::StripeLayout& layout = record_->layout();
  const bool expected = header.request == lane.request && !failed_ &&
                        lane.next_row < layout.rows() &&
                        header.offset == layout.ChunkOffset(lane.next_row) &&
                        header.payload_bytes == layout.StripBytes(lane.next_row, chunk);
  if (!expected) {
    failed_ = true;
    progress_.Notify();
    return {};
  }
  ++lane.next_row;
  const bool contended = link.requests() > lane.requests();
  if ((header.flags & wire::kFlagLast) != 0) {
    // Early, so that the next batch is on its way before this strip has gone.
    lane.finished_request = std::exchange(lane.request, 0);
    if (lane.held.empty()) AskNextBatch(chunk);
  }
  if (contended) return Hold(chunk, lane.next_row - 1, header.payload_bytes);
  lane.borrowed = true;
  progress_.Notify();
  return {Target::Kind::kBorrow, nullptr, nullptr};
}

pool::FrameSink::Target SpliceRelay::Hold(std::size_t chunk, std::uint64_t row, std::size_t bytes) {
  Lane& lane = lanes_[chunk];
  const bool next = chunk == turn_ && lane.held.empty();
  if (next) {
    worker_.budget().ForceAcquire(bytes);
  } else if (!worker_.budget().TryAcquireSpare(bytes)) {
    GiveBack(lane, row);
    return {};
  }
  auto held = std::make_shared<Held>(worker_, bytes);
  std::byte* memory = held->buffer.data();
  lane.held.push_back(held);
  return {Target::Kind::kMemory, memory, std::move(held)};
}

void SpliceRelay::GiveBack(Lane& lane, std::uint64_t row) {
  Cancel(lane);
  lane.next_row = lane.asked_to = row;
}

// Ends what is asked for on the lane; a borrowed strip is dropped.
void SpliceRelay::Cancel(Lane& lane) {
  lane.borrowed = false;
  if (lane.finished_request != 0) lane.link->Forget(std::exchange(lane.finished_request, 0));
  if (lane.request == 0) return;
  lane.link->Forget(lane.request);
  wire::FrameHeader cancel;
  cancel.type = wire::FrameType::kCancel;
  cancel.request = std::exchange(lane.request, 0);
  lane.link->Send(cancel);
}

void SpliceRelay::OnFrame(pool::Link& link, const wire::FrameHeader& header) {
  const std::size_t chunk = ChunkOf(link);
  Lane& lane = lanes_[chunk];
  progress_.Notify();
  if (header.type == wire::FrameType::kData) {
    if ((header.flags & wire::kFlagLast) != 0) Finish(lane, header.request);
    if (failed_) return;
    // A link receives one frame at a time, so it is the last one held.
    CHECK(!lane.held.empty());
    Held& held = *lane.held.back();
    const bool whole = held.bytes == header.payload_bytes;
    held.complete =
        !whole || coding::Crc32c({held.buffer.data(), held.bytes}) == header.payload_crc;
    if (held.complete) return;
    // The reader asks for the strip again, and sees to what is wrong with it.
    failed_ = true;
    return;
  }
  failed_ = true;
  Finish(lane, header.request);
  const pool::Place place = worker_.PlaceOn(*record_, chunk, link);
  if (header.status == ErrorCode::kCorrupt) {
    Add(worker_.stats().corrupt_strips);
    record_->ClearCorrupt(chunk, place);
  }
  record_->ClearPlace(chunk, place);
  worker_.shared().repairs->Add(record_);
}

void SpliceRelay::OnLinkLost(pool::Link& link, std::uint64_t request) {
  Lane& lane = lanes_[ChunkOf(link)];
  if (lane.request == request) lane.request = 0;
  if (lane.finished_request == request) lane.finished_request = 0;
  lane.borrowed = false;
  failed_ = true;
  progress_.Notify();
}

void SpliceRelay::OnBorrowContended(pool::Link& link) {
  const std::size_t chunk = ChunkOf(link);
  Lane& lane = lanes_[chunk];
  if (!lane.borrowed) return;
  lane.borrowed = false;
  const Target target = Hold(chunk, lane.next_row - 1, link.reader().payload_left());
  // A strip that was given back is dropped with its request.
  if (target.kind == Target::Kind::kMemory) link.Receive(target);
}

void SpliceRelay::OnBorrowReadable(pool::Link&) {
  progress_.Notify();
}

void SpliceRelay::Finish(Lane& lane, std::uint64_t request) {
  lane.link->Forget(request);
  if (lane.request == request) lane.request = 0;
  if (lane.finished_request == request) lane.finished_request = 0;
}

std::size_t SpliceRelay::ChunkOf(const pool::Link& link) const {
  const auto found = std::find_if(lanes_.begin(), lanes_.end(),
                                  [&](const Lane& lane) { return lane.link == &link; });
  CHECK(found != lanes_.end());
  return static_cast<std::size_t>(found - lanes_.begin());
}

}  // namespace infinicache::cache
