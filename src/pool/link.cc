#include "pool/link.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "net/handshake.h"
#include "pool/dialling.h"
#include "pool/lent_memory.h"

namespace infinicache::pool {
namespace {

using wire::FrameHeader;
using wire::FrameType;
using Kind = FrameSink::Target::Kind;

// Short answers come many to a read, and small payloads with their headers.
constexpr std::size_t kReadAhead = 16 * kKiB;

// Whether a sink takes the frame's payload.
bool CarriesData(const FrameHeader& header) {
  return header.type == FrameType::kData || header.type == FrameType::kInventoryReply ||
         header.type == FrameType::kLocated || header.type == FrameType::kLent;
}

// Whether bytes wait in the socket.
bool HasBytes(net::Socket& socket) {
  char byte = 0;
  return recv(socket.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

}  // namespace

std::string_view NodeStateName(NodeState state) {
  switch (state) {
    case NodeState::kStarting:
      return "starting";
    case NodeState::kAsleep:
      return "asleep";
    case NodeState::kWaking:
      return "waking";
    case NodeState::kActive:
      return "active";
    case NodeState::kDown:
      return "down";
  }
  return "unknown";
}

std::uint64_t NodeShared::NoteFill(InstanceId instance, std::optional<std::uint32_t> sequence,
                                   std::uint64_t used, std::uint64_t chunks_there) {
  const std::scoped_lock lock(fill_mutex_);
  if (instance != std::exchange(fill_instance_, instance)) fill_sequence_.reset();
  // The sequence wraps around.
  if (fill_sequence_ && (!sequence || static_cast<std::int32_t>(*sequence - *fill_sequence_) < 0))
    return 0;
  fill_sequence_ = sequence;
  chunks.store(chunks_there, std::memory_order_relaxed);
  const std::uint64_t before = bytes_used.exchange(used, std::memory_order_relaxed);
  return used - std::min(used, before);
}

Link::Link(net::EventLoop& loop, NodeShared& shared, LinkOptions options)
    : loop_(loop),
      shared_(shared),
      options_(std::move(options)),
      random_(options_.seed),
      backoff_(kDialBackoffMin, kDialBackoffMax),
      gate_(options_.gate),
      borrow_changed_(loop),
      instance_changed_(loop),
      flush_ended_(loop) {}

Link::~Link() {
  CloseLent();
}

void Link::SetInstance(Epoch epoch, InstanceId instance, net::HostPort address, bool copy) {
  epoch_ = epoch;
  instance_ = instance;
  address_ = std::move(address);
  backoff_.Reset();
  suspect_ = false;  // that was the former one
  Break();
  // What waits for the former instance's chunks waits in vain, unless they are there too.
  if (!copy) Lose([](std::uint64_t, const Sink& sink) { return sink.bound; });
  instance_changed_.Notify();
}

void Link::Attach(InstanceId instance, net::Socket socket) {
  if (stopping_) return;
  std::erase_if(arrived_, [&](const Arrived& other) { return other.instance == instance; });
  if (arrived_.size() == kArrivedMax) arrived_.erase(arrived_.begin());
  socket.Configure(options_.socket);
  arrived_.push_back({instance, std::make_unique<net::Socket>(std::move(socket))});
  // It dialled again because the connection that we have is dead.
  if (instance == instance_) Break();
  instance_changed_.Notify();
}

bool Link::HasWhere() const {
  if (epoch_ == Epoch()) return false;
  return !address_.host.empty() ||
         std::any_of(arrived_.begin(), arrived_.end(),
                     [this](const Arrived& other) { return other.instance == instance_; });
}

bool Link::TakeArrived() {
  const auto found = std::find_if(arrived_.begin(), arrived_.end(), [this](const Arrived& other) {
    return other.instance == instance_;
  });
  if (found == arrived_.end()) return false;
  socket_.emplace(std::move(*found->socket));
  arrived_.erase(found);
  reader_.emplace(*socket_, kReadAhead);
  return true;
}

void Link::SetGate(Gate gate) {
  gate_ = gate;
  // A session began or ended, which clears what is held against the one before. Else a node that
  // sleeps would never be chosen again.
  suspect_ = false;
  const bool closed = gate_.open_until == TimePoint::min();
  answers_here_ = false;
  if (closed) grant_pending_ = false;
  if (!available()) {
    FailRequests();
  } else if (!closed) {
    GrantIfOpen();
  } else if (!sinks_.empty()) {
    // A node that has answered all ends its session while the answers wait here.
    answers_here_ = connected() && (reader_->buffered() > 0 || HasBytes(*socket_));
    if (!answers_here_) DemandAgain();
  }
}

void Link::DemandAgain() {
  const bool crossed = std::any_of(sinks_.begin(), sinks_.end(),
                                   [this](const auto& entry) { return !IsUnsent(entry.first); });
  if (crossed && options_.tell_pool) options_.tell_pool(node(), LinkEvent::kCrossed);
  Demand();
}

void Link::DemandMissingAnswers() {
  if (!answers_here_ || HasBytes(*socket_)) return;
  answers_here_ = false;
  if (!sinks_.empty()) DemandAgain();
}

void Link::Grant() {
  grant_pending_ = true;
  GrantIfOpen();
}

void Link::GrantIfOpen() {
  if (!connected() || (!grant_pending_ && !IsOpen())) return;
  grant_pending_ = false;
  granted_up_to_ = last_request_;
  for (Outgoing& frame : waiting_) queue_.push_back(std::move(frame));
  waiting_.clear();
  Flush();
  if (on_awake_) on_awake_();
}

void Link::Demand() {
  if (demanded_ || !options_.tell_pool) return;
  demanded_ = true;
  demanded_at_ = net::EventLoop::Now();
  const bool repair = std::all_of(sinks_.begin(), sinks_.end(), [](const auto& entry) {
    return entry.second.sink->cause() == policy::Cause::kRepair;
  });
  options_.tell_pool(node(), repair ? LinkEvent::kRepairDemand : LinkEvent::kDemand);
}

void Link::EndDemand(LinkEvent event) {
  demanded_ = false;
  if (event == LinkEvent::kAnswered && options_.wake_delay != nullptr)
    options_.wake_delay->Observe(net::EventLoop::Now() - demanded_at_);
  options_.tell_pool(node(), event);
}

void Link::FailRequests() {
  demanded_ = false;  // the pool has given it up
  Lose([](std::uint64_t, const Sink&) { return true; });
}

// One at a time: a sink that is told may forget others, which must not be called then.
void Link::Lose(const std::function<bool(std::uint64_t, const Sink&)>& is_lost) {
  for (;;) {
    const auto found = std::find_if(sinks_.begin(), sinks_.end(), [&](const auto& entry) {
      return is_lost(entry.first, entry.second);
    });
    if (found == sinks_.end()) break;
    const auto lost = sinks_.extract(found);
    Unqueue(lost.key());
    if (lost.mapped().sink->Borrows()) BorrowerGone();
    lost.mapped().sink->OnLinkLost(*this, lost.key());
  }
  if (demanded_ && sinks_.empty()) EndDemand(LinkEvent::kAbandoned);
}

void Link::Stop() {
  stopping_ = true;
  gate_ = {};
  options_.tell_pool = nullptr;
  on_awake_ = nullptr;
  demanded_ = false;
  Break();
  if (!socket_) FailRequests();
  instance_changed_.Notify();
}

void Link::Break() {
  if (!socket_) return;
  broken_ = true;
  socket_->Shutdown();
  borrow_changed_.Notify();
}

net::Task<> Link::Run() {
  while (!stopping_) {
    if (!HasWhere()) {
      co_await instance_changed_.Wait(TimePoint::max());
      continue;
    }
    const Epoch dialled = epoch_;
    Status status;
    if (!TakeArrived()) status = co_await Dial();
    if (status && dialled == epoch_ && !stopping_) {
      connected_ = true;
      suspect_ = false;
      backoff_.Reset();
      if (borrowers_ > 0) reader_->set_read_ahead(wire::kFrameHeaderBytes);
      GrantIfOpen();
      if (lent() != nullptr) lent_->Begin();
      status = co_await ReadFrames();
      Disconnect();
      while (flushing_) co_await flush_ended_.Wait(TimePoint::max());
    }
    reader_.reset();
    socket_.reset();
    broken_ = false;
    if (stopping_ || dialled != epoch_ || address_.host.empty()) continue;
    if (!status && status.error().code == ErrorCode::kUnauthenticated) {
      LOG_ERROR("link to node {} at {}: {}", node().value(), address_.ToString(),
                status.error().ToString());
    } else if (!status) {
      LOG_DEBUG("link to node {} ended: {}", node().value(), status.error().ToString());
    }
    co_await instance_changed_.Wait(net::EventLoop::Now() + backoff_.Next(random_));
  }
}

net::Task<Status> Link::Dial() {
  const TimePoint deadline = net::EventLoop::Now() + kDialTimeout;
  auto socket = co_await net::Socket::Connect(loop_, address_, options_.socket, deadline);
  if (!socket) co_return tl::make_unexpected(socket.error());
  socket_.emplace(std::move(*socket));
  reader_.emplace(*socket_, kReadAhead);
  const auto status =
      co_await net::HandshakeAsDialer(*socket_, *reader_, options_.secret, deadline);
  if (!status) co_return tl::make_unexpected(status.error());
  if (auto right = CheckDialled(*status, node(), instance_, address_); !right) co_return right;
  shared_.bytes_limit.store(status->bytes_limit, std::memory_order_relaxed);
  shared_.NoteFill(status->instance, std::nullopt, status->bytes_used, status->chunks);
  if (options_.map_memory) memory_ = shared_.memory.Map(*status);
  co_return Status{};
}

net::Task<Status> Link::ReadFrames() {
  for (;;) {
    if (auto status = TakeFrames(); !status) co_return status;
    if (borrowed_request_ == 0) {
      DemandMissingAnswers();
      if (auto status = co_await reader_->WaitReadable(); !status) co_return status;
    } else if (!std::exchange(borrow_awaited_, false)) {
      co_await borrow_changed_.Wait(TimePoint::max());
    } else {
      DemandMissingAnswers();
      const Status status = co_await socket_->WaitReadable();
      const auto sink = sinks_.find(borrowed_request_);
      if (sink != sinks_.end()) sink->second.sink->OnBorrowReadable(*this);
      if (!status) co_return status;
    }
  }
}

Status Link::TakeFrames() {
  for (;;) {
    // What was under way when the connection was ended may be of an instance that is gone.
    if (broken_) return Fail(ErrorCode::kCancelled, "link closed");
    if (borrowed_request_ != 0) return {};
    if (!incoming_) {
      const auto header = reader_->TryHeader();
      if (!header) return tl::make_unexpected(header.error());
      if (!*header) return {};
      BeginFrame(**header);
      continue;
    }
    const auto complete = incoming_->target.kind == Kind::kMemory
                              ? reader_->TryPayload(incoming_->rest)
                              : reader_->TryDiscard();
    if (!complete) return tl::make_unexpected(complete.error());
    if (!*complete) return {};
    EndFrame();
  }
}

void Link::BeginFrame(const FrameHeader& header) {
  suspect_ = false;
  incoming_ = Incoming{header, {}, {}, {}};
  if (!CarriesData(header)) return;
  const auto sink = sinks_.find(header.request);
  if (sink == sinks_.end()) return;
  if (demanded_) EndDemand(LinkEvent::kAnswered);
  auto target = sink->second.sink->OnData(*this, header);
  if (target.kind == Kind::kBorrow) {
    if (reader_->buffered() > 0) Break();  // it came before it was asked for
    borrowed_request_ = header.request;
    borrow_awaited_ = false;
  } else {
    ReceiveInto(std::move(target));
  }
}

void Link::ReceiveInto(FrameSink::Target target) {
  incoming_->memory = {target.memory, reader_->payload_left()};
  incoming_->rest = {&incoming_->memory, 1};
  incoming_->target = std::move(target);
}

void Link::EndFrame() {
  const Incoming frame = *std::exchange(incoming_, std::nullopt);
  const FrameHeader& header = frame.header;
  if (header.type == FrameType::kExpirySet) shared_.changes.fetch_add(1, std::memory_order_relaxed);
  NoteFill(header);
  if (CarriesData(header) && frame.target.kind == Kind::kDiscard) return;
  // The sink may have gone away while the payload came in.
  const auto sink = sinks_.find(header.request);
  if (sink == sinks_.end()) return;
  if (demanded_) EndDemand(LinkEvent::kAnswered);
  sink->second.sink->OnFrame(*this, header);
}

void Link::NoteFill(const FrameHeader& header) {
  const bool changed = header.type == FrameType::kStored || header.type == FrameType::kDeleted;
  if (!changed && header.type != FrameType::kLent) return;
  const std::uint64_t grown =
      shared_.NoteFill(instance_, header.payload_crc, header.offset, header.length);
  if (!changed) return;
  shared_.changes.fetch_add(1, std::memory_order_relaxed);
  shared_.bytes_stored.fetch_add(grown, std::memory_order_relaxed);
}

void Link::AwaitBorrowed() {
  CHECK(borrowed_request_ != 0);
  borrow_awaited_ = true;
  borrow_changed_.Notify();
}

void Link::Release(bool forget) {
  CHECK(borrowed_request_ != 0 && reader_->payload_left() == 0);
  const std::uint64_t request = std::exchange(borrowed_request_, 0);
  incoming_.reset();
  if (forget) Forget(request);
  if (!TakeFrames()) Break();
  if (borrowed_request_ == 0) borrow_changed_.Notify();
}

void Link::Receive(FrameSink::Target target) {
  CHECK(borrowed_request_ != 0 && target.kind != Kind::kBorrow);
  borrowed_request_ = 0;
  ReceiveInto(std::move(target));
  borrow_changed_.Notify();
}

const std::shared_ptr<LentMemory>& Link::lent() {
  if (lent_ == nullptr && memory_ != nullptr && options_.lend_account && connected() &&
      lent_before_.expired() && LentMemory::IsWorthwhile(shared_))
    lent_ = std::make_shared<LentMemory>(loop_, *this, memory_, *options_.lend_account);
  return lent_;
}

std::uint64_t Link::stock() const {
  return lent_ != nullptr ? lent_->free_bytes() : 0;
}

bool Link::lends_in_pieces() const {
  return lent_ != nullptr && lent_->in_pieces();
}

void Link::CloseLent() {
  if (lent_ == nullptr) return;
  lent_->Close();
  lent_before_ = std::exchange(lent_, nullptr);
}

void Link::Disconnect() {
  connected_ = false;
  CloseLent();
  memory_.reset();
  socket_->Shutdown();
  incoming_.reset();
  borrowed_request_ = 0;
  for (const Outgoing& frame : queue_) queued_bytes_ -= frame.size() - frame.sent;
  queue_.clear();
  // What has not been granted waits for the next connection, unless there will be none.
  Lose(
      [this](std::uint64_t request, const Sink&) { return !gate_.wakeable || !IsUnsent(request); });
}

void Link::Suspect() {
  if (suspect_ || !connected_) return;
  suspect_ = true;
  if (!IsOpen()) return;
  FrameHeader ping;
  ping.type = FrameType::kPing;
  Send(ping);
}

std::uint64_t Link::Register(FrameSink* sink, bool bound) {
  CHECK(available());
  sinks_.emplace(++last_request_, Sink{sink, bound});
  if (sink->Borrows() && ++borrowers_ == 1 && reader_)
    reader_->set_read_ahead(wire::kFrameHeaderBytes);
  if (borrowed_request_ != 0) {
    if (const auto lender = sinks_.find(borrowed_request_); lender != sinks_.end()) {
      lender->second.sink->OnBorrowContended(*this);
    }
  }
  return last_request_;
}

void Link::Forget(std::uint64_t request) {
  const auto found = sinks_.find(request);
  if (found == sinks_.end()) return;
  const bool borrows = found->second.sink->Borrows();
  sinks_.erase(found);
  if (borrows) BorrowerGone();
  if (demanded_ && sinks_.empty()) EndDemand(LinkEvent::kAbandoned);
  if (borrowed_request_ == request) Receive({});
}

void Link::BorrowerGone() {
  if (--borrowers_ == 0 && reader_) reader_->set_read_ahead(kReadAhead);
}

void Link::Send(FrameHeader header, std::string meta, std::span<const std::byte> payload,
                std::shared_ptr<const void> keep_alive, bool more) {
  if (!available()) return;
  const bool open = connected() && IsOpen();
  if (open) granted_up_to_ = last_request_;
  // Messages that belong to no request follow what was granted.
  const bool goes = open || (header.request == 0 ? connected() : !IsUnsent(header.request));
  if (!goes && header.type == FrameType::kCancel) return Unqueue(header.request);
  header.meta_bytes = static_cast<std::uint32_t>(meta.size());
  header.payload_bytes = static_cast<std::uint32_t>(meta.size() + payload.size());
  Outgoing& frame = (goes ? queue_ : waiting_).emplace_back();
  frame.request = header.request;
  wire::EncodeFrameHeader(header, frame.header);
  frame.meta = std::move(meta);
  frame.payload = payload;
  frame.keep_alive = std::move(keep_alive);
  queued_bytes_ += frame.size();
  if (!goes && header.request != 0) {
    Demand();
  } else if (goes && !more) {
    Flush();
  }
}

void Link::Flush() {
  if (flushing_ || queue_.empty() || !connected()) return;
  if (!FlushSome()) {
    Break();
    return;
  }
  if (!queue_.empty()) {
    flushing_ = true;
    loop_.Spawn(FlushAll());
  }
}

Status Link::FlushSome() {
  while (!queue_.empty()) {
    std::array<iovec, 12> pieces;
    std::size_t count = 0;
    std::size_t skip = queue_.front().sent;
    for (const Outgoing& frame : queue_) {
      if (count + 3 > pieces.size()) break;
      pieces[count++] = net::ToIovec(frame.header);
      if (!frame.meta.empty()) pieces[count++] = net::ToIovec(frame.meta);
      if (!frame.payload.empty()) pieces[count++] = net::ToIovec(frame.payload);
    }
    const std::span<iovec> rest = net::Advance(std::span(pieces).first(count), skip);
    const auto written = socket_->TryWrite(rest);
    if (!written) return tl::make_unexpected(written.error());
    if (*written == 0) return {};
    std::size_t left = *written;
    queued_bytes_ -= left;
    while (left > 0) {
      Outgoing& frame = queue_.front();
      const std::size_t taken = std::min(left, frame.size() - frame.sent);
      frame.sent += taken;
      left -= taken;
      if (frame.sent == frame.size()) queue_.pop_front();
    }
  }
  return {};
}

net::Task<> Link::FlushAll() {
  while (connected_ && !queue_.empty()) {
    const Status writable = co_await socket_->WaitWritable();
    if (!connected_) break;
    if (!writable || !FlushSome()) {
      Break();
      break;
    }
  }
  flushing_ = false;
  flush_ended_.Notify();
}

void Link::Unqueue(std::uint64_t request) {
  Unqueue(queue_, request);
  Unqueue(waiting_, request);
}

void Link::Unqueue(std::deque<Outgoing>& queue, std::uint64_t request) {
  std::erase_if(queue, [&](const Outgoing& frame) {
    const bool drop = frame.request == request && frame.sent == 0;
    if (drop) queued_bytes_ -= frame.size();
    return drop;
  });
}

}  // namespace infinicache::pool
