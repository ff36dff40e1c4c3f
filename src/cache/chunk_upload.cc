#include "cache/chunk_upload.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "wire/inventory.h"

namespace infinicache::cache {

ChunkUpload::ChunkUpload(Worker& worker, const ObjectRef& record, std::size_t index, NodeId node,
                         net::Notification& changed)
    : record_(record),
      index_(index),
      link_(worker.links().at(node)),
      request_(link_.Register(this, /*bound=*/false)),
      chunk_bytes_(record->layout().ChunkBytes(index)),
      reserved_bytes_(record->StoredBytes(index)),
      changed_(changed) {
  link_.shared().bytes_reserved.fetch_add(reserved_bytes_, std::memory_order_relaxed);
}

ChunkUpload::~ChunkUpload() {
  if (state_ == State::kWriting) {
    TellNodeToDrop();
    Finish(State::kFailed);
  }
}

std::shared_ptr<pool::LentRange> ChunkUpload::TakeMemory(std::uint32_t bytes) {
  if (state_ != State::kWriting) return nullptr;
  if (!begun_ && lent_ == nullptr && !link_.suspect()) BeginBorrowing();
  if (lent_ == nullptr || !pieces_.empty()) return nullptr;
  const std::uint64_t in_all = MemoryBytes();
  const bool whole = in_all <= kWholeBytesMax;
  if (whole && put_.empty() && rest_ == nullptr) rest_ = lent_->Take(in_all);
  if (rest_ != nullptr) {
    const std::uint64_t part = RoundUp(bytes, kStripBlockBytes);
    return part == rest_->bytes() ? std::exchange(rest_, nullptr) : rest_->Split(part);
  }
  if (auto strip = lent_->Take(bytes, whole ? in_all : 0)) return strip;
  pieces_ = lent_->TakePieces(bytes);
  return nullptr;
}

bool ChunkUpload::AwaitsMemory() {
  if (state_ != State::kWriting || lent_ == nullptr || !lent_->asking() || !pieces_.empty())
    return false;
  lent_->StopAwaiting(&changed_);
  lent_->Await(&changed_);
  return true;
}

bool ChunkUpload::LacksRoom() const {
  return state_ == State::kWriting && lent_ != nullptr && !put_.empty() && !lent_->asking() &&
         pieces_.empty();
}

void ChunkUpload::NoteRoom() {
  if (lent_ != nullptr) lent_->NoteRoom();
}

void ChunkUpload::Send(const std::shared_ptr<Row>& row, std::uint32_t crc, bool more) {
  if (state_ == State::kFailed) return;
  begun_ = true;
  const coding::StripeLayout& layout = record_->layout();
  const std::uint32_t bytes = layout.StripBytes(row->index(), index_);
  if (bytes == 0) {
    if (chunk_bytes_ == 0) SendEmpty();
    if (!more) link_.Flush();  // earlier strips may have waited for this row
    return;
  }
  const std::uint64_t offset = layout.ChunkOffset(row->index());
  if (lent_ != nullptr && PutStrip(*row, bytes, crc)) {
    Unreserve(RoundUp(bytes, kStripBlockBytes));
    if (offset + bytes == chunk_bytes_) Store();
    return;
  }
  if (lent_ != nullptr) TakeToLink();
  if (state_ == State::kFailed) return;
  SendStrip(offset, {row->strip(index_), bytes}, crc, row, more);
}

void ChunkUpload::SendEmpty() {
  StopBorrowing();
  if (state_ != State::kFailed) SendStrip(0, {}, 0, nullptr);
}

void ChunkUpload::BeginBorrowing() {
  const auto& lent = link_.lent();
  if (lent != nullptr && lent->Promise(record_->StoredBytes(index_))) lent_ = lent;
}

std::uint64_t ChunkUpload::MemoryBytes() const {
  const coding::StripeLayout& layout = record_->layout();
  const std::uint64_t tail = layout.rows() - 1;
  return tail * RoundUp(layout.strip_bytes, kStripBlockBytes) +
         RoundUp(layout.StripUnit(tail), kStripBlockBytes);
}

void ChunkUpload::StopBorrowing() {
  if (lent_ == nullptr) return;
  lent_->StopAwaiting(&changed_);
  lent_->EndPromise(record_->StoredBytes(index_));
  lent_ = nullptr;
  rest_ = nullptr;
  pieces_.clear();
}

bool ChunkUpload::PutStrip(const Row& row, std::uint32_t bytes, std::uint32_t crc) {
  if (const auto& whole = row.lent(index_); whole != nullptr) {
    put_location_.AddStrip(crc);
    put_location_.AddPiece(whole->offset(), bytes);
    put_.push_back(whole);
    return true;
  }
  if (pieces_.empty()) return false;
  put_location_.AddStrip(crc);
  const std::byte* from = row.strip(index_);
  for (auto& piece : std::exchange(pieces_, {})) {
    if (bytes == 0) break;  // the last strip is shorter
    const auto part = static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, piece->bytes()));
    std::memcpy(piece->data(), from, part);
    put_location_.AddPiece(piece->offset(), part);
    put_.push_back(std::move(piece));
    from += part;
    bytes -= part;
  }
  return true;
}

// What is in lent memory counts as used already.
void ChunkUpload::Unreserve(std::uint64_t bytes) {
  bytes = std::min(bytes, reserved_bytes_);
  reserved_bytes_ -= bytes;
  link_.shared().bytes_reserved.fetch_sub(bytes, std::memory_order_relaxed);
}

void ChunkUpload::Store() {
  if (!lent_->Store(record_->chunk(index_), Meta(), put_location_, put_)) return TakeToLink();
  put_location_.strips.shrink_to_fit();
  put_location_.pieces.shrink_to_fit();
  location_ = std::make_shared<const wire::ChunkLocation>(std::move(put_location_));
  put_.clear();
  Finish(State::kStored);
}

void ChunkUpload::TakeToLink() {
  StopBorrowing();
  const bool in_pieces = put_location_.pieces.size() > put_location_.strips.size();
  if (in_pieces && chunk_bytes_ > kCopiedBytesMax) {
    put_.clear();
    error_ = {ErrorCode::kOutOfMemory,
              fmt::format("node {} has lent too little", link_.node().value())};
    return Finish(State::kFailed);
  }
  link_.shared().bytes_reserved.fetch_add(record_->StoredBytes(index_) - reserved_bytes_,
                                          std::memory_order_relaxed);
  reserved_bytes_ = record_->StoredBytes(index_);
  std::uint64_t offset = 0;
  for (const auto& strip : put_location_.strips) {
    std::span<const std::byte> bytes(put_[strip.first_piece]->data(),
                                     put_location_.pieces[strip.first_piece].bytes);
    std::shared_ptr<const void> keep_alive = put_[strip.first_piece];
    if (strip.pieces > 1) {
      auto copy = std::make_shared<std::vector<std::byte>>();
      for (std::size_t i = strip.first_piece; i < strip.first_piece + strip.pieces; ++i)
        copy->insert(copy->end(), put_[i]->data(), put_[i]->data() + put_location_.pieces[i].bytes);
      bytes = *copy;
      keep_alive = std::move(copy);
    }
    SendStrip(offset, bytes, strip.crc, std::move(keep_alive));
    offset += bytes.size();
  }
  put_.clear();
}

wire::ChunkMeta ChunkUpload::Meta() const {
  const coding::StripeLayout& layout = record_->layout();
  return {record_->key(),   record_->bytes(),   chunk_bytes_,         layout.strip_bytes,
          layout.code.data, layout.code.parity, record_->expires_at()};
}

void ChunkUpload::SendStrip(std::uint64_t offset, std::span<const std::byte> bytes,
                            std::uint32_t crc, std::shared_ptr<const void> keep_alive, bool more) {
  wire::FrameHeader header;
  header.type = wire::FrameType::kPut;
  header.request = request_;
  header.chunk = record_->chunk(index_);
  header.offset = offset;
  header.length = bytes.size();
  header.payload_crc = crc;
  std::string meta;
  if (offset == 0) {
    header.flags |= wire::kFlagFirst;
    wire::AppendChunkMeta(Meta(), meta);
  }
  if (offset + bytes.size() == chunk_bytes_) header.flags |= wire::kFlagLast;
  link_.Send(header, std::move(meta), bytes, std::move(keep_alive), more);
}

void ChunkUpload::Abandon(const Error& reason) {
  if (state_ != State::kWriting) return;
  error_ = reason;
  TellNodeToDrop();
  Finish(State::kFailed);
}

bool ChunkUpload::HasMoved() {
  if (lent_ != nullptr) return true;  // it waits for nobody but the client
  if (link_.waking()) return true;    // the pool sets it a deadline
  const std::uint64_t sent = link_.bytes_sent();
  return std::exchange(bytes_sent_seen_, sent) != sent;
}

// The node may have all of the chunk, part of it, or nothing yet. Both frames follow whatever of
// the chunk is under way on this link.
void ChunkUpload::TellNodeToDrop() {
  if (lent_ != nullptr) return;
  link_.Unqueue(request_);
  if (link_.IsUnsent(request_)) return;
  wire::FrameHeader header;
  header.type = wire::FrameType::kAbort;
  header.chunk = record_->chunk(index_);
  link_.Send(header);
  header.type = wire::FrameType::kDelete;
  link_.Send(header, wire::EncodeChunkList({&header.chunk, 1}));
}

void ChunkUpload::Finish(State state) {
  state_ = state;
  StopBorrowing();
  link_.Forget(request_);
  Unreserve(reserved_bytes_);
  // The instance that answered, which may be younger than this upload.
  if (state == State::kStored) record_->set_place(index_, {link_.node(), link_.epoch()});
  changed_.Notify();
}

pool::FrameSink::Target ChunkUpload::OnData(pool::Link&, const wire::FrameHeader&) {
  return {};
}

void ChunkUpload::OnFrame(pool::Link& link, const wire::FrameHeader& header) {
  if (header.type == wire::FrameType::kStored) {
    Finish(State::kStored);
    return;
  }
  const ErrorCode code = header.status.value_or(ErrorCode::kProtocol);
  error_ = {code,
            fmt::format("node {} refused the chunk: {}", link.node().value(), ErrorCodeName(code))};
  link.Unqueue(request_);
  Finish(State::kFailed);
}

void ChunkUpload::OnLinkLost(pool::Link& link, std::uint64_t) {
  error_ = {ErrorCode::kUnavailable, fmt::format("the link to node {} ended", link.node().value())};
  Finish(State::kFailed);
}

}  // namespace infinicache::cache
