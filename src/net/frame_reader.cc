#include "net/frame_reader.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"

namespace infinicache::net {

FrameReader::FrameReader(Socket& socket, std::size_t read_ahead)
    : socket_(socket), buffer_(read_ahead) {
  CHECK(read_ahead >= wire::kFrameHeaderBytes);
}

Task<Status> FrameReader::Fill(std::size_t needed) {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  while (end_ < needed) {
    const auto bytes = co_await socket_.ReadSome(std::span(buffer_).subspan(end_));
    if (!bytes) co_return tl::make_unexpected(bytes.error());
    end_ += *bytes;
  }
  co_return Status{};
}

Task<Result<wire::FrameHeader>> FrameReader::ReadHeader() {
  CHECK(payload_left_ == 0, "{} bytes of the last payload are unread", payload_left_);
  if (buffered() < wire::kFrameHeaderBytes) {
    if (auto status = co_await Fill(wire::kFrameHeaderBytes); !status) {
      co_return tl::make_unexpected(status.error());
    }
  }
  const std::span<const std::byte, wire::kFrameHeaderBytes> bytes(buffer_.data() + begin_,
                                                                  wire::kFrameHeaderBytes);
  begin_ += wire::kFrameHeaderBytes;
  auto header = wire::DecodeFrameHeader(bytes);
  if (header) payload_left_ = header->payload_bytes;
  co_return header;
}

bool FrameReader::HasFrame() const {
  if (buffered() < wire::kFrameHeaderBytes) return false;
  const auto header =
      wire::DecodeFrameHeader(std::span(buffer_).subspan(begin_).first<wire::kFrameHeaderBytes>());
  return header && buffered() - wire::kFrameHeaderBytes >= header->payload_bytes;
}

Task<Status> FrameReader::ReadPayload(std::span<iovec> buffers) {
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
    if (last) pieces[count] = {buffer_.data(), buffer_.size()};
    const auto bytes = socket_.TryRead(std::span(pieces).first(count + (last ? 1 : 0)));
    if (!bytes) co_return tl::make_unexpected(bytes.error());
    if (*bytes == 0) {
      if (auto status = co_await socket_.WaitReadable(); !status) co_return status;
      continue;
    }
    const std::size_t taken = std::min(*bytes, wanted);
    end_ = *bytes - taken;
    payload_left_ -= taken;
    buffers = Advance(buffers, taken);
  }
  co_return Status{};
}

Task<Status> FrameReader::ReadPayload(std::span<std::byte> buffer) {
  iovec piece = ToIovec(buffer);
  co_return co_await ReadPayload(std::span(&piece, 1));
}

Task<Status> FrameReader::Discard() {
  std::vector<std::byte> sink(std::min<std::size_t>(payload_left_, 64 * kKiB));
  while (payload_left_ > 0) {
    const std::size_t bytes = std::min(payload_left_, sink.size());
    if (auto status = co_await ReadPayload(std::span(sink).first(bytes)); !status) co_return status;
  }
  co_return Status{};
}

void FrameReader::ConsumedOutside(std::size_t bytes) {
  CHECK(buffered() == 0 && bytes <= payload_left_);
  payload_left_ -= bytes;
}

}  // namespace infinicache::net
