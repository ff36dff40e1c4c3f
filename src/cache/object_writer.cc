#include "cache/object_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "cache/hidden.h"
#include "cache/room_claim.h"
#include "coding/crc32c.h"
#include "coding/uncached_copy.h"

namespace infinicache::cache {
namespace {

using State = ChunkUpload::State;

// Not one node takes a byte: then it is the machine that is busy, most often with giving the nodes
// memory that they touch for the first time. Of that a write bears more than of one node.
constexpr int kAllStalledTimeouts = 4;
constexpr std::uint64_t kRowsPerSend = 4;
// For room on a node that has refused a chunk.
constexpr int kRetriesMax = 6;
// For a placement whose nodes go while room is made on them.
constexpr int kPlacementsMax = 3;
constexpr Duration kReclaimAtMost = std::chrono::milliseconds(500);
constexpr Duration kReclaimPoll = std::chrono::milliseconds(2);

// A row that is decoded is read twice, for that and when it is sent, with what the kernel copies in
// between. To find it in a 2 MiB L2 cache the second time, its data takes half of that at most.
constexpr std::uint32_t StripBytesFor(coding::Code code) {
  return static_cast<std::uint32_t>(std::min(kStripBytesMax, std::bit_floor(kMiB / code.data)));
}

coding::StripeLayout LayoutFor(const CacheOptions& options, std::uint64_t bytes) {
  const coding::Code code = coding::ChooseCode(options.code, bytes);
  return coding::StripeLayout::For(bytes, code, StripBytesFor(code));
}

}  // namespace

ObjectWriter::ObjectWriter(Worker& worker, std::string_view key, std::uint64_t bytes,
                           WallMillis expires_at)
    : worker_(worker),
      layout_(LayoutFor(worker.options(), bytes)),
      record_(std::make_shared<ObjectRecord>(std::string(key), HashKey(key),
                                             worker.shared().NextVersion(), layout_,
                                             worker.shared().reclaimer)),
      changed_(worker.loop()),
      window_(std::make_shared<RowWindow>(worker.loop())) {
  record_->set_expires_at(expires_at);
}

ObjectWriter::~ObjectWriter() {
  if (!finished_) Add(worker_.stats().writes_failed);
}

std::size_t ObjectWriter::required() const {
  return ChunksToCommit(layout_.code, worker_.options().parity_min);
}

std::size_t ObjectWriter::CountState(State state) const {
  return static_cast<std::size_t>(std::count_if(
      chunks_.begin(), chunks_.end(),
      [&](const auto& chunk) { return chunk != nullptr && chunk->state() == state; }));
}

net::Task<Status> ObjectWriter::Begin() {
  if (layout_.object_bytes > worker_.options().object_bytes_max) {
    co_return Fail(ErrorCode::kTooLarge,
                   fmt::format("{} bytes; max-object-size is {}", layout_.object_bytes,
                               worker_.options().object_bytes_max));
  }
  if (worker_.shared().evictor.enabled()) {
    const Status placed = co_await PlaceMakingRoom();
    KeepRoom(worker_);
    co_return placed;
  }
  const Status placed = PlaceChunks();
  if (placed || placed.error().code != ErrorCode::kOutOfMemory) co_return placed;
  co_await AwaitReclaim();
  co_return PlaceChunks();
}

// Waits until what was deleted so far has given its room back.
net::Task<> ObjectWriter::AwaitReclaim() {
  ChunkReclaimer& reclaimer = *worker_.shared().reclaimer;
  const TimePoint deadline = net::EventLoop::Now() + kReclaimAtMost;
  if (reclaimer.pending() > 0) reclaimer.Flush();
  while (reclaimer.pending() > 0 && net::EventLoop::Now() < deadline)
    co_await worker_.loop().Sleep(kReclaimPoll);
}

// For all chunks, or as many as have room.
std::vector<NodeId> ObjectWriter::DrawNodes() {
  const std::uint64_t largest = record_->StoredBytes(0);
  std::vector<NodeId> nodes;
  if (const ObjectRef before = worker_.shared().directory.Find(record_->key()))
    nodes = worker_.ChooseHolders(*before, MarksThatHide(*before), largest);
  const auto others = worker_.ChooseNodes(layout_.code.width() - nodes.size(), largest, nodes);
  nodes.insert(nodes.end(), others.begin(), others.end());
  return nodes;
}

Status ObjectWriter::PlaceChunks() {
  const std::size_t width = layout_.code.width();
  const std::uint64_t largest = record_->StoredBytes(0);
  const std::vector<NodeId> nodes = DrawNodes();
  if (nodes.size() < required()) {
    const std::size_t live = worker_.links().responsive();
    if (live < required()) {
      return Fail(ErrorCode::kUnavailable,
                  fmt::format("{} of {} nodes answer; a write needs {}", live,
                              worker_.links().all().size(), required()));
    }
    return Fail(ErrorCode::kOutOfMemory,
                fmt::format("no room for {} chunks of {} bytes", width, largest));
  }
  PutOn(nodes);
  return {};
}

// All chunks where there is room; for those that are left it is made on the nodes that lack least.
net::Task<Status> ObjectWriter::PlaceMakingRoom() {
  const std::size_t width = layout_.code.width();
  const std::uint64_t largest = record_->StoredBytes(0);
  for (int placement = 0; placement < kPlacementsMax; ++placement) {
    std::vector<NodeId> nodes = DrawNodes();
    if (nodes.size() == width) {
      PutOn(nodes);
      co_return Status{};
    }
    const auto full = worker_.ChooseFullNodes(width - nodes.size(), largest, nodes);
    nodes.insert(nodes.end(), full.begin(), full.end());
    if (full.empty() || nodes.size() < required()) break;
    RoomClaim claim(worker_, nodes, largest);
    if (auto made = co_await claim.Make(); !made) {
      if (made.error().code != ErrorCode::kOutOfMemory) co_return made;
      break;
    }
    // Nodes may have gone while we waited.
    if (!std::all_of(nodes.begin(), nodes.end(),
                     [this](NodeId node) { return Worker::IsUsable(worker_.links().at(node)); }))
      continue;
    PutOn(nodes);
    co_return Status{};
  }
  co_return PlaceChunks();
}

void ObjectWriter::PutOn(std::span<const NodeId> nodes) {
  chunks_.resize(layout_.code.width());
  for (std::size_t i = 0; i < nodes.size(); ++i)
    chunks_[i] = std::make_unique<ChunkUpload>(worker_, record_, i, nodes[i], changed_);
  used_nodes_.assign(nodes.begin(), nodes.end());
}

// REQUIRES: RetainsRows().
void ObjectWriter::PutOn(std::size_t index, NodeId node) {
  chunks_[index] = std::make_unique<ChunkUpload>(worker_, record_, index, node, changed_);
  for (std::size_t row = 0; row < retained_.size(); ++row)
    chunks_[index]->Send(retained_[row], retained_[row]->crc(index));
  if (layout_.rows() == 0) chunks_[index]->SendEmpty();
}

bool ObjectWriter::MayRetryRefused() const {
  return RetainsRows() && retries_ < kRetriesMax && worker_.shared().evictor.enabled();
}

// Makes room on the nodes that were full after all, and puts their chunks there again. Others may
// refuse meanwhile.
net::Task<> ObjectWriter::RetryRefused() {
  while (MayRetryRefused()) {
    std::vector<std::size_t> refused;
    std::vector<NodeId> nodes;
    for (std::size_t i = 0; i < chunks_.size(); ++i) {
      if (chunks_[i] == nullptr || chunks_[i]->state() != State::kFailed ||
          chunks_[i]->error().code != ErrorCode::kOutOfMemory ||
          !Worker::IsUsable(chunks_[i]->link()))
        continue;
      // What we have of its memory at hand is of no use for what comes over the link.
      if (const auto& lent = chunks_[i]->link().lent(); lent != nullptr) lent->GiveStockBack();
      refused.push_back(i);
      nodes.push_back(chunks_[i]->node());
    }
    if (refused.empty()) co_return;
    ++retries_;
    RoomClaim claim(worker_, nodes, record_->StoredBytes(0));
    if (!co_await claim.Make(true)) co_return;
    for (std::size_t i = 0; i < refused.size(); ++i) {
      if (Worker::IsUsable(worker_.links().at(nodes[i]))) PutOn(refused[i], nodes[i]);
    }
  }
}

// Fails when too few chunks can still be stored.
Status ObjectWriter::CheckChunks() const {
  const std::size_t possible = CountState(State::kWriting) + CountState(State::kStored);
  if (possible >= required()) return {};
  const bool full = std::any_of(chunks_.begin(), chunks_.end(), [](const auto& chunk) {
    return chunk != nullptr && chunk->state() == State::kFailed &&
           chunk->error().code == ErrorCode::kOutOfMemory;
  });
  return Fail(full ? ErrorCode::kOutOfMemory : ErrorCode::kUnavailable,
              fmt::format("only {} of {} chunks could be stored; {} are needed", possible,
                          chunks_.size(), required()));
}

net::Task<Result<std::span<iovec>>> ObjectWriter::Next() {
  CHECK(bytes_left() > 0);
  if (row_ == nullptr) {
    ReplaceFailed();
    co_await RetryRefused();
    if (auto status = CheckChunks(); !status) co_return tl::make_unexpected(status.error());
    if (auto status = co_await AwaitWindow(); !status)
      co_return tl::make_unexpected(status.error());
    const std::uint32_t unit = layout_.StripUnit(rows_sent_);
    Row::LentRanges lent = co_await TakeLent(unit);
    const std::size_t cost = Row::Cost(layout_.code.width() - Row::CountLent(lent), unit);
    if (!worker_.budget().TryAcquire(cost)) {
      FlushLinks();
      const TimePoint deadline = net::EventLoop::Now() + worker_.options().node_timeout;
      if (auto status = co_await worker_.budget().Acquire(cost, deadline); !status)
        co_return tl::make_unexpected(status.error());
    }
    row_ = std::make_shared<Row>(worker_, window_, rows_sent_, layout_.code.width(), unit,
                                 std::move(lent));
    row_filled_ = 0;
  }
  co_return Unfilled();
}

// Memory of nodes for the next row's strips, as far as they lend any.
net::Task<Row::LentRanges> ObjectWriter::TakeLent(std::uint32_t unit) {
  Row::LentRanges lent;
  const Duration first = layout_.rows() > 1 ? kLendRowsAtMost : kLendAtMost;
  const TimePoint deadline = net::EventLoop::Now() + (rows_sent_ == 0 ? first : kStallAfter);
  int rooms_left = worker_.shared().evictor.enabled() ? kLendRoomsMax : 0;
  for (;;) {
    bool awaited = false;
    std::vector<ChunkUpload*> without_room;
    for (std::size_t i = 0; i < chunks_.size(); ++i) {
      if (chunks_[i] == nullptr || lent[i] != nullptr) continue;
      lent[i] = chunks_[i]->TakeMemory(unit);
      if (lent[i] != nullptr) continue;
      awaited |= chunks_[i]->AwaitsMemory();
      if (chunks_[i]->LacksRoom()) without_room.push_back(chunks_[i].get());
    }
    if (!without_room.empty() && rooms_left-- > 0) {
      co_await MakeLendable(without_room, unit);
    } else if (!awaited || !co_await changed_.Wait(deadline)) {
      co_return lent;
    }
  }
}

net::Task<> ObjectWriter::MakeLendable(std::span<ChunkUpload* const> uploads, std::uint32_t unit) {
  std::vector<NodeId> nodes;
  for (const ChunkUpload* upload : uploads) nodes.push_back(upload->node());
  RoomClaim claim(worker_, nodes, unit);
  if (!co_await claim.Make(true)) co_return;
  for (ChunkUpload* upload : uploads) upload->NoteRoom();
}

// The rest of the row's data strips, as few pieces as it is in memory.
std::span<iovec> ObjectWriter::Unfilled() {
  const std::size_t end = layout_.RowBytes(rows_sent_);
  std::size_t pieces = 0;
  for (std::size_t at = row_filled_; at < end;) {
    const std::size_t strip = at / row_->unit();
    const std::size_t skip = at % row_->unit();
    const std::size_t bytes = std::min(end - at, row_->unit() - skip);
    std::byte* const data = row_->strip(strip) + skip;
    if (iovec* last = pieces > 0 ? &unfilled_[pieces - 1] : nullptr;
        last != nullptr && static_cast<std::byte*>(last->iov_base) + last->iov_len == data) {
      last->iov_len += bytes;
    } else {
      unfilled_[pieces++] = {data, bytes};
    }
    at += bytes;
  }
  return std::span(unfilled_).first(pieces);
}

// Sends rows that wait for the next one: whoever waits for memory must not hold any back.
void ObjectWriter::FlushLinks() {
  for (const auto& chunk : chunks_) {
    if (chunk != nullptr) chunk->link().Flush();
  }
}

// Waits until fewer than kRowsInFlight rows are unsent. As long as the nodes take bytes, however
// slowly, it waits on: that is what holds back the client.
net::Task<Status> ObjectWriter::AwaitWindow() {
  if (window_->rows < kRowsInFlight) co_return Status{};
  FlushLinks();
  AnyMoved();
  const Duration timeout = kAllStalledTimeouts * worker_.options().node_timeout;
  TimePoint deadline = net::EventLoop::Now() + timeout;
  while (window_->rows >= kRowsInFlight) {
    if (co_await window_->changed.Wait(net::EventLoop::Now() + std::min(kStallAfter, timeout)))
      continue;
    if (worker_.stopping()) co_return Fail(ErrorCode::kCancelled, "the server stops");
    if (AbandonStalled()) deadline = net::EventLoop::Now() + timeout;
    if (net::EventLoop::Now() >= deadline)
      co_return Fail(ErrorCode::kDeadlineExceeded, "nodes do not take the object's bytes");
    if (auto status = CheckChunks(); !status) co_return status;
  }
  co_return Status{};
}

// Whether any node has taken bytes since the last call.
bool ObjectWriter::AnyMoved() {
  bool any = false;
  for (const auto& chunk : chunks_) any |= chunk != nullptr && chunk->HasMoved();
  return any;
}

Status ObjectWriter::Wrote(std::size_t count) {
  row_filled_ += count;
  written_ += count;
  CHECK(row_filled_ <= layout_.RowBytes(rows_sent_));
  if (row_filled_ == layout_.RowBytes(rows_sent_)) SendRow();
  ReplaceFailed();
  // Next and Finish can wait for room, and check then.
  return MayRetryRefused() ? Status{} : CheckChunks();
}

// What the object lacks to a whole row is zeros.
void ObjectWriter::FillUp() {
  const std::size_t unit = row_->unit();
  for (std::size_t i = row_filled_ / unit; i < layout_.code.data; ++i) {
    const std::size_t filled = std::max(row_filled_, i * unit) - i * unit;
    std::memset(row_->strip(i) + filled, 0, unit - filled);
  }
}

void ObjectWriter::Encode() {
  const coding::Code code = layout_.code;
  const std::uint32_t unit = row_->unit();
  if (code.data == 1) {
    for (std::size_t i = 1; i < code.width(); ++i) {
      if (row_->lent(i) != nullptr) {
        coding::CopyUncached({row_->strip(0), unit}, row_->strip(i));
      } else {
        std::memcpy(row_->strip(i), row_->strip(0), unit);
      }
    }
    return;
  }
  std::array<const std::byte*, kCodeWidthMax> data{};
  std::array<std::byte*, kCodeWidthMax> parity{};
  for (std::size_t i = 0; i < code.data; ++i) data[i] = row_->strip(i);
  for (std::size_t i = 0; i < code.parity; ++i) parity[i] = row_->strip(code.data + i);
  if (code.parity > 0) {
    worker_.CodecFor(code).Encode(std::span(data).first(code.data),
                                  std::span(parity).first(code.parity), unit);
  }
}

void ObjectWriter::SendRow() {
  const coding::Code code = layout_.code;
  FillUp();
  Encode();
  // Rows go out in groups: each node is woken for several strips at a time. The last row never
  // waits.
  const bool more =
      rows_sent_ % kRowsPerSend != kRowsPerSend - 1 && rows_sent_ + 1 < layout_.rows();
  for (std::size_t i = 0; i < code.width(); ++i) {
    // A copy begins as the data strip does.
    const std::size_t known =
        i > 0 && code.data == 1 ? layout_.StripBytes(rows_sent_, 0) : std::size_t{0};
    row_->set_crc(
        i, coding::Crc32c({row_->strip(i) + known, layout_.StripBytes(rows_sent_, i) - known},
                          known > 0 ? row_->crc(0) : 0));
    if (chunks_[i] != nullptr) chunks_[i]->Send(row_, row_->crc(i), more);
  }
  if (RetainsRows()) retained_.push_back(row_);
  row_.reset();
  ++rows_sent_;
}

// Gives each failed chunk another node and sends it all rows so far. Only while they are at hand.
void ObjectWriter::ReplaceFailed() {
  if (!RetainsRows()) return;
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    if (chunks_[i] != nullptr && chunks_[i]->state() != State::kFailed) continue;
    const auto nodes = worker_.ChooseNodes(1, record_->StoredBytes(i), used_nodes_);
    if (nodes.empty()) continue;
    used_nodes_.push_back(nodes[0]);
    PutOn(i, nodes[0]);
  }
}

// Gives up on chunks whose nodes take nothing while enough others do: where all are slow, none is
// to blame. Returns whether any node takes bytes.
bool ObjectWriter::AbandonStalled() {
  std::vector<ChunkUpload*> stalled;
  bool any_moved = false;
  std::size_t progressing = CountState(State::kStored);
  for (const auto& chunk : chunks_) {
    if (chunk == nullptr || chunk->state() != State::kWriting) continue;
    const bool moved = chunk->HasMoved();
    any_moved |= moved;
    // While bytes are still to come, a node with an empty queue waits for us.
    if (moved || (bytes_left() > 0 && chunk->link().queued_bytes() == 0)) {
      ++progressing;
    } else {
      stalled.push_back(chunk.get());
    }
  }
  if (progressing < required()) return any_moved;
  for (ChunkUpload* chunk : stalled) {
    LOG_WARN_EVERY(std::chrono::seconds(1), "node {} takes no bytes; its chunk is left out",
                   chunk->node().value());
    chunk->link().Suspect();
    chunk->Abandon({ErrorCode::kDeadlineExceeded,
                    fmt::format("node {} makes no progress", chunk->node().value())});
  }
  return any_moved;
}

net::Task<Result<ObjectRef>> ObjectWriter::Finish() {
  CHECK(bytes_left() == 0);
  if (layout_.rows() == 0) {
    for (const auto& chunk : chunks_) {
      if (chunk != nullptr) chunk->SendEmpty();
    }
  }
  const TimePoint deadline = net::EventLoop::Now() + worker_.options().node_timeout;
  AnyMoved();
  TimePoint stall = net::EventLoop::Now() + kAnswerAfter;
  for (;;) {
    ReplaceFailed();
    co_await RetryRefused();
    if (auto status = CheckChunks(); !status) co_return tl::make_unexpected(status.error());
    if (CountState(State::kWriting) == 0) break;
    if (co_await changed_.Wait(std::min(deadline, stall))) {
      stall = net::EventLoop::Now() + kAnswerAfter;
      continue;
    }
    if (worker_.stopping()) co_return Fail(ErrorCode::kCancelled, "the server stops");
    if (net::EventLoop::Now() >= deadline)
      co_return Fail(ErrorCode::kDeadlineExceeded, "nodes did not store the object in time");
    AbandonStalled();
    stall = net::EventLoop::Now() + kAnswerAfter;
  }
  finished_ = true;
  NoteLocations();
  Add(worker_.stats().objects_written);
  Add(worker_.stats().bytes_written, layout_.object_bytes);
  if (CountState(State::kStored) < chunks_.size()) Add(worker_.stats().writes_degraded);
  co_return record_;
}

// Readers need not ask for what is known here.
void ObjectWriter::NoteLocations() {
  const bool any = std::any_of(chunks_.begin(), chunks_.end(), [](const auto& chunk) {
    return chunk != nullptr && chunk->location() != nullptr;
  });
  if (!any) return;
  auto map = std::make_unique<ObjectMap>();
  map->chunks.resize(chunks_.size());
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    if (chunks_[i] == nullptr || chunks_[i]->location() == nullptr) continue;
    map->chunks[i] = {record_->place(i), chunks_[i]->location()};
    Add(worker_.stats().mapped_writes);
  }
  record_->set_map(std::move(map));
}

net::Task<Result<ObjectRef>> WriteObject(Worker& worker, std::string_view key,
                                         std::string_view value, WallMillis expires_at) {
  ObjectWriter writer(worker, key, value.size(), expires_at);
  if (auto begun = co_await writer.Begin(); !begun) co_return tl::make_unexpected(begun.error());
  while (writer.bytes_left() > 0) {
    const auto memory = co_await writer.Next();
    if (!memory) co_return tl::make_unexpected(memory.error());
    std::size_t bytes = 0;
    for (const iovec& piece : *memory) {
      std::memcpy(piece.iov_base, value.data(), piece.iov_len);
      value.remove_prefix(piece.iov_len);
      bytes += piece.iov_len;
    }
    if (auto status = writer.Wrote(bytes); !status) co_return tl::make_unexpected(status.error());
  }
  co_return co_await writer.Finish();
}

}  // namespace infinicache::cache
