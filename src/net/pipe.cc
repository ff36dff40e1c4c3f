#include "net/pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace infinicache::net {

Result<Pipe> Pipe::Open() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    return tl::make_unexpected(ErrnoError("pipe", errno));
  // Refused when the user's pipes hold too much already; the default capacity serves as well.
  fcntl(ends[1], F_SETPIPE_SZ, static_cast<int>(kCapacity));
  return Pipe(ends[0], ends[1]);
}

Pipe::Pipe(Pipe&& other) noexcept
    : read_end_(std::exchange(other.read_end_, -1)),
      write_end_(std::exchange(other.write_end_, -1)),
      size_(std::exchange(other.size_, 0)) {}

Pipe& Pipe::operator=(Pipe&& other) noexcept {
  std::swap(read_end_, other.read_end_);
  std::swap(write_end_, other.write_end_);
  std::swap(size_, other.size_);
  return *this;
}

Pipe::~Pipe() {
  if (read_end_ >= 0) close(read_end_);
  if (write_end_ >= 0) close(write_end_);
}

Result<std::size_t> Pipe::Fill(Socket& socket, std::size_t bytes) {
  for (;;) {
    const ssize_t moved =
        splice(socket.fd(), nullptr, write_end_, nullptr, bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (moved > 0) {
      size_ += static_cast<std::size_t>(moved);
      socket.AddBytesRead(static_cast<std::uint64_t>(moved));
      return static_cast<std::size_t>(moved);
    }
    if (moved == 0) return Fail(ErrorCode::kUnavailable, "splice: connection closed");
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return 0;
    return tl::make_unexpected(ErrnoError("splice", errno));
  }
}

Result<std::size_t> Pipe::Drain(Socket& socket) {
  if (size_ == 0) return 0;
  for (;;) {
    const ssize_t moved = splice(read_end_, nullptr, socket.fd(), nullptr, size_,
                                 SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE);
    if (moved >= 0) {
      size_ -= static_cast<std::size_t>(moved);
      socket.AddBytesWritten(static_cast<std::uint64_t>(moved));
      return static_cast<std::size_t>(moved);
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return 0;
    return tl::make_unexpected(ErrnoError("splice", errno));
  }
}

}  // namespace infinicache::net
