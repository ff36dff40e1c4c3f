#include "cache/mapped_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/map_memory.h"
#include "cache/locate.h"
#include "coding/crc32c.h"
#include "net/socket.h"

namespace infinicache::cache {
namespace {

constexpr std::uint64_t Bit(std::size_t chunk) {
  return std::uint64_t{1} << chunk;
}

// What is verified and decoded at once of each strip: a row of that is in the L1 cache still.
constexpr std::size_t kPartBytes = 2 * kKiB;

// Where the batch at `done` bytes ends. The bytes of a batch begin a socket buffer, at the start of
// a page, and a client receives them, most likely, so many bytes behind the start of a page as were
// sent before: by a whole number of pages, and the few of the reply's head, if batches were pages.
// That is where copies are slow (kStripPageOffset).
std::uint64_t BatchEnd(std::uint64_t done) {
  return (done + MappedReader::kBatchBytes) / kPageBytes * kPageBytes + kStripPageOffset;
}

}  // namespace

MappedReader::MappedReader(Worker& worker, ObjectRef record, std::uint64_t offset,
                           std::uint64_t length)
    : worker_(worker),
      record_(std::move(record)),
      begin_(offset),
      offset_(offset),
      end_(offset + length) {
  CHECK(end_ <= record_->bytes());
}

net::Task<bool> MappedReader::Open() {
  const std::uint64_t unknown = ChunksToLocate();
  if (unknown != 0) {
    co_await Locate(worker_, record_, unknown);
    TakeMap();
  }
  std::size_t mapped = 0;
  for (std::size_t n = record_->width(); n-- > 0;) {
    if (!IsMapped(InOrder(n))) continue;
    copy_ = InOrder(n);
    ++mapped;
  }
  if (record_->layout().code.data == 1) degraded_ = copy_ != InOrder(0);
  co_return mapped >= record_->layout().code.data;
}

// Which chunk is the n-th choice. Copies are all alike: which is the first depends on the version,
// as for an ObjectReader, so that both have read the same memory lately.
std::size_t MappedReader::InOrder(std::size_t n) const {
  if (record_->layout().code.data > 1) return n;
  return (record_->version().value() + n) % record_->width();
}

// What there is to ask so that d chunks can be read, data before parity; nothing if that cannot be
// had, or is had already.
std::uint64_t MappedReader::ChunksToLocate() {
  TakeMap();
  std::uint64_t unknown = 0;
  std::size_t readable = 0;
  for (std::size_t n = 0; n < record_->width() && readable < record_->layout().code.data; ++n) {
    const std::size_t i = InOrder(n);
    if (!IsMapped(i)) {
      const pool::Link* link = worker_.LinkTo(record_->place(i));
      if (link == nullptr || link->memory() == nullptr || link->suspect()) continue;
      unknown |= Bit(i);
    }
    ++readable;
  }
  return readable == record_->layout().code.data ? unknown : 0;
}

void MappedReader::TakeMap() {
  const ObjectMap* map = record_->map();
  if (map == nullptr) return;
  for (std::size_t i = 0; i < record_->width(); ++i) {
    const pool::Place place = record_->place(i);
    if (map->chunks[i].place != place) continue;
    const pool::Link* link = worker_.LinkTo(place);
    if (link == nullptr || link->memory() == nullptr) continue;
    sources_[i] = {link->memory(), map->chunks[i].location.get()};
  }
}

net::Task<std::size_t> MappedReader::Next(std::vector<iovec>& pieces) {
  const coding::StripeLayout& layout = record_->layout();
  const std::uint64_t batch_begin = offset_;
  const std::uint64_t batch_end = std::min(end_, begin_ + BatchEnd(offset_ - begin_));
  std::uint64_t row = layout.RowOfOffset(offset_);
  if (decoded_ != nullptr && decoded_->index() != row) decoded_.reset();
  if (decoded_ == nullptr && MustDecode(row) && !co_await Decode(row)) co_return 0;
  while (offset_ < batch_end) {
    row = layout.RowOfOffset(offset_);
    // A row that was decoded, or must be, is not mixed with others.
    if (offset_ > batch_begin && (decoded_ != nullptr ? decoded_->index() != row : MustDecode(row)))
      break;
    const std::size_t bytes = TakeStrip(row, batch_end, pieces);
    if (bytes == 0) break;
    offset_ += bytes;
  }
  co_return offset_ - batch_begin;
}

// The rest of the strip at offset_, up to `end`; 0 if it is not as it was stored.
std::size_t MappedReader::TakeStrip(std::uint64_t row, std::uint64_t end,
                                    std::vector<iovec>& pieces) {
  const coding::StripeLayout& layout = record_->layout();
  const std::uint64_t in_row = offset_ - layout.RowOffset(row);
  const std::size_t unit = layout.StripUnit(row);
  const std::size_t strip = in_row / unit;
  const std::size_t chunk = layout.code.data == 1 ? copy_ : strip;
  const std::size_t skip = in_row % unit;
  const std::size_t bytes =
      std::min<std::uint64_t>(layout.StripBytes(row, strip) - skip, end - offset_);
  if (decoded_ != nullptr && (!IsMapped(chunk) || (verified_ & Bit(chunk)) == 0)) {
    pieces.push_back(net::ToIovec(std::span(decoded_->strip(chunk) + skip, bytes)));
    return bytes;
  } else if (decoded_ == nullptr && !Verify(row, chunk)) {
    return 0;
  }
  Append(row, chunk, skip, bytes, pieces);
  return bytes;
}

std::span<const wire::ChunkLocation::Piece> MappedReader::PiecesOf(std::uint64_t row,
                                                                   std::size_t chunk) const {
  const wire::ChunkLocation& location = *sources_[chunk].location;
  return location.PiecesOf(location.strips[row]);
}

bool MappedReader::Verify(std::uint64_t row, std::size_t chunk) {
  if (verified_row_ == row && verified_chunk_ == chunk) return true;
  const std::byte* const memory = sources_[chunk].memory->data();
  std::uint32_t crc = 0;
  for (const auto& piece : PiecesOf(row, chunk))
    crc = coding::Crc32c({memory + piece.offset, piece.bytes}, crc);
  if (crc != sources_[chunk].location->strips[row].crc) return false;
  verified_row_ = row;
  verified_chunk_ = chunk;
  return true;
}

void MappedReader::Append(std::uint64_t row, std::size_t chunk, std::size_t skip, std::size_t bytes,
                          std::vector<iovec>& pieces) const {
  const std::byte* const memory = sources_[chunk].memory->data();
  for (const auto& piece : PiecesOf(row, chunk)) {
    const std::size_t begin = std::min<std::size_t>(skip, piece.bytes);
    const std::size_t count = std::min<std::size_t>(piece.bytes - begin, bytes);
    if (count > 0) pieces.push_back(net::ToIovec(std::span(memory + piece.offset + begin, count)));
    skip -= begin;
    bytes -= count;
  }
}

// Whether a strip of the row that is wanted cannot be had as it is.
bool MappedReader::MustDecode(std::uint64_t row) const {
  const coding::StripeLayout& layout = record_->layout();
  if (layout.code.data == 1) return false;
  const std::uint64_t begin = std::max(offset_, layout.RowOffset(row));
  const std::uint64_t end = std::min(end_, layout.RowOffset(row) + layout.RowBytes(row));
  const std::size_t unit = layout.StripUnit(row);
  const std::size_t first = (begin - layout.RowOffset(row)) / unit;
  const std::size_t last = (end - 1 - layout.RowOffset(row)) / unit;
  for (std::size_t chunk = first; chunk <= last; ++chunk) {
    if (!IsMapped(chunk)) return true;
  }
  return false;
}

// Makes the row's data strips that are not mapped.
net::Task<bool> MappedReader::Decode(std::uint64_t row) {
  const coding::StripeLayout& layout = record_->layout();
  const std::size_t data = layout.code.data;
  const std::uint32_t unit = layout.StripUnit(row);
  const TimePoint deadline = net::EventLoop::Now() + worker_.options().node_timeout;
  if (auto acquired =
          co_await worker_.budget().Acquire(Row::Cost(record_->width(), unit), deadline);
      !acquired)
    co_return false;
  decoded_ = std::make_shared<Row>(worker_, std::make_shared<RowWindow>(worker_.loop()), row,
                                   record_->width(), unit);
  std::array<std::byte*, kCodeWidthMax> strips{};
  std::uint64_t present = 0;
  verified_ = 0;
  for (std::size_t i = 0; i < record_->width(); ++i) {
    strips[i] = decoded_->strip(i);
    if (static_cast<std::size_t>(std::popcount(present)) == data) continue;
    if (layout.StripBytes(row, i) == 0) {  // behind the object's end
      std::memset(strips[i], 0, unit);
      present |= Bit(i);
    } else if (IsMapped(i)) {
      strips[i] = Source(row, i);
      verified_ |= Bit(i);
      present |= Bit(i);
    }
  }
  if (static_cast<std::size_t>(std::popcount(present)) < data) co_return false;
  degraded_ = true;
  co_return VerifyAndReconstruct(row, strips, present);
}

// Both in parts, so that each is read from memory once.
bool MappedReader::VerifyAndReconstruct(std::uint64_t row,
                                        std::array<std::byte*, kCodeWidthMax> strips,
                                        std::uint64_t present) {
  const coding::StripeLayout& layout = record_->layout();
  const std::size_t unit = decoded_->unit();
  const std::uint64_t missing = (Bit(layout.code.data) - 1) & ~present;
  const coding::Codec& codec = worker_.CodecFor(layout.code);
  std::array<std::uint32_t, kCodeWidthMax> crcs{};
  const auto first = static_cast<std::size_t>(std::countr_zero(verified_));
  for (std::size_t at = 0; at < unit; at += kPartBytes) {
    const std::size_t bytes = std::min(kPartBytes, unit - at);
    for (std::uint64_t left = verified_; left != 0;) {
      const auto i = static_cast<std::size_t>(std::countr_zero(left));
      left &= left - 1;
      const std::byte* const next =
          left != 0 ? strips[std::countr_zero(left)] : strips[first] + bytes;
      const std::size_t end = std::min<std::size_t>(layout.StripBytes(row, i), at + bytes);
      if (at < end) crcs[i] = coding::Crc32c({strips[i], end - at}, crcs[i], {next, kPartBytes});
    }
    codec.Reconstruct(std::span(strips).first(record_->width()), present, missing, bytes);
    for (std::size_t i = 0; i < record_->width(); ++i) strips[i] += bytes;
  }
  for (std::size_t i = 0; i < record_->width(); ++i) {
    if ((verified_ & Bit(i)) != 0 && crcs[i] != sources_[i].location->strips[row].crc) return false;
  }
  return true;
}

// A strip as the codec wants it, which only reads it: in one piece and filled up with zeros. In
// decoded_ where it is not so in its node's memory.
std::byte* MappedReader::Source(std::uint64_t row, std::size_t chunk) const {
  const auto pieces = PiecesOf(row, chunk);
  const std::byte* const memory = sources_[chunk].memory->data();
  if (pieces.size() == 1 && pieces[0].bytes == decoded_->unit())
    return const_cast<std::byte*>(memory + pieces[0].offset);
  std::byte* const copy = decoded_->strip(chunk);
  std::size_t filled = 0;
  for (const auto& piece : pieces) {
    std::memcpy(copy + filled, memory + piece.offset, piece.bytes);
    filled += piece.bytes;
  }
  std::memset(copy + filled, 0, decoded_->unit() - filled);
  return copy;
}

}  // namespace infinicache::cache
