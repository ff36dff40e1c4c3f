#include "net/frame_reader.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"

namespace infinicache::net {
namespace {

// Behind a large payload most often comes another: room for its header and metadata, but little
// that would have to be copied on.
constexpr std::size_t kBehindLargeBytes = 4 * kKiB;

}  // namespace

FrameReader::FrameReader(Socket& socket, std::size_t read_ahead)
    : socket_(socket), buffer_(read_ahead), read_ahead_(read_ahead) {
  CHECK(read_ahead >= wire::kFrameHeaderBytes);
}

void FrameReader::set_read_ahead(std::size_t bytes) {
  CHECK(bytes >= wire::kFrameHeaderBytes && bytes <= buffer_.size());
  read_ahead_ = bytes;
}

std::size_t FrameReader::ReadAhead() const {
  return large_ ? std::min(read_ahead_, kBehindLargeBytes) : read_ahead_;
}

Task<Status> FrameReader::WaitReadable() {
  Status status = co_await socket_.WaitReadable();
  drained_ = false;
  co_return status;
}

// 0: nothing is here.
Result<std::size_t> FrameReader::TryRead(std::span<const iovec> buffers) {
  if (drained_) return 0;
  const auto bytes = socket_.TryRead(buffers);
  std::size_t room = 0;
  for (const iovec& buffer : buffers) room += buffer.iov_len;
  drained_ = bytes && *bytes < room;
  return bytes;
}

Result<std::optional<wire::FrameHeader>> FrameReader::TryHeader() {
  CHECK(payload_left_ == 0, "{} bytes of the last payload are unread", payload_left_);
  if (buffered() < wire::kFrameHeaderBytes && begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, buffered());
    end_ -= begin_;
    begin_ = 0;
  }
  while (buffered() < wire::kFrameHeaderBytes) {
    const iovec room = ToIovec(std::span(buffer_).first(ReadAhead()).subspan(end_));
    const auto bytes = TryRead({&room, 1});
    if (!bytes) return tl::make_unexpected(bytes.error());
    if (*bytes == 0) return std::nullopt;
    end_ += *bytes;
  }
  const std::span<const std::byte, wire::kFrameHeaderBytes> bytes(buffer_.data() + begin_,
                                                                  wire::kFrameHeaderBytes);
  begin_ += wire::kFrameHeaderBytes;
  const auto header = wire::DecodeFrameHeader(bytes);
  if (!header) return tl::make_unexpected(header.error());
  payload_left_ = header->payload_bytes;
  large_ = payload_left_ > read_ahead_;
  return *header;
}

Task<Result<wire::FrameHeader>> FrameReader::ReadHeader() {
  for (;;) {
    const auto header = TryHeader();
    if (!header) co_return tl::make_unexpected(header.error());
    if (*header) co_return **header;
    if (auto status = co_await WaitReadable(); !status)
      co_return tl::make_unexpected(status.error());
  }
}

bool FrameReader::HasFrame() const {
  if (buffered() < wire::kFrameHeaderBytes) return false;
  const auto header =
      wire::DecodeFrameHeader(std::span(buffer_).subspan(begin_).first<wire::kFrameHeaderBytes>());
  return header && buffered() - wire::kFrameHeaderBytes >= header->payload_bytes;
}

Result<bool> FrameReader::TryPayload(std::span<iovec>& buffers) {
  constexpr std::size_t kPiecesMax = 15;
  buffers = Advance(buffers, 0);
  while (!buffers.empty()) {
    if (buffered() > 0) {
      const std::size_t bytes = std::min(buffered(), buffers.front().iov_len);
      std::memcpy(buffers.front().iov_base, buffer_.data() + begin_, bytes);
      begin_ += bytes;
      payload_left_ -= bytes;
      buffers = Advance(buffers, bytes);
      continue;
    }
    begin_ = end_ = 0;
    // The last piece of a payload brings the next header along.
    std::array<iovec, kPiecesMax + 1> pieces;
    const std::size_t count = std::min(buffers.size(), kPiecesMax);
    std::size_t wanted = 0;
    for (std::size_t i = 0; i < count; ++i) {
      pieces[i] = buffers[i];
      wanted += buffers[i].iov_len;
    }
    CHECK(wanted <= payload_left_);
    const bool last = wanted == payload_left_;
    if (last) pieces[count] = {buffer_.data(), ReadAhead()};
    const auto bytes = TryRead(std::span(pieces).first(count + (last ? 1 : 0)));
    if (!bytes) return tl::make_unexpected(bytes.error());
    if (*bytes == 0) return false;
    const std::size_t taken = std::min(*bytes, wanted);
    end_ = *bytes - taken;
    payload_left_ -= taken;
    buffers = Advance(buffers, taken);
  }
  return true;
}

Task<Status> FrameReader::ReadPayload(std::span<iovec> buffers) {
  for (;;) {
    const auto done = TryPayload(buffers);
    if (!done) co_return tl::make_unexpected(done.error());
    if (*done) co_return Status{};
    if (auto status = co_await WaitReadable(); !status) co_return status;
  }
}

Task<Status> FrameReader::ReadPayload(std::span<std::byte> buffer) {
  iovec piece = ToIovec(buffer);
  co_return co_await ReadPayload(std::span(&piece, 1));
}

Result<bool> FrameReader::TryDiscard() {
  if (payload_left_ == 0) return true;
  std::vector<std::byte> sink(std::min<std::size_t>(payload_left_, 64 * kKiB));
  while (payload_left_ > 0) {
    iovec piece = ToIovec(std::span(sink).first(std::min(payload_left_, sink.size())));
    std::span<iovec> pieces(&piece, 1);
    const auto done = TryPayload(pieces);
    if (!done || !*done) return done;
  }
  return true;
}

Task<Status> FrameReader::Discard() {
  for (;;) {
    const auto done = TryDiscard();
    if (!done) co_return tl::make_unexpected(done.error());
    if (*done) co_return Status{};
    if (auto status = co_await WaitReadable(); !status) co_return status;
  }
}

void FrameReader::ConsumedOutside(std::size_t bytes) {
  CHECK(buffered() == 0 && bytes <= payload_left_);
  payload_left_ -= bytes;
  drained_ = false;
}

}  // namespace infinicache::net
