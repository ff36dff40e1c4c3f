// A pipe that moves bytes from one socket to another inside the kernel (splice(2)): they are never
// copied to this process.
//
// Thread-safety: none; used on the sockets' loop. Cost: a system call to fill and one to drain,
// each for up to kCapacity bytes; a full pipe holds references to the kernel's own buffers.
#pragma once

#include <cstddef>

#include "base/result.h"
#include "net/socket.h"

namespace infinicache::net {

class Pipe {
 public:
  // Asked for; the kernel may grant less (fs.pipe-max-size, or the user's share is used up).
  static constexpr std::size_t kCapacity = 1024 * 1024;

  // Errors: kUnavailable (no descriptors left).
  static Result<Pipe> Open();
  Pipe(Pipe&& other) noexcept;
  Pipe& operator=(Pipe&& other) noexcept;
  ~Pipe();

  // Moves up to `bytes` from `socket` into the pipe. 0: the socket has none now, or the pipe is
  // full (which size() tells). Errors: kUnavailable (end of stream).
  Result<std::size_t> Fill(Socket& socket, std::size_t bytes);
  // Moves what the pipe holds to `socket`, as much as that takes now; 0: nothing. More follows
  // soon: the kernel may wait for it to fill a segment.
  Result<std::size_t> Drain(Socket& socket);

  // Bytes in the pipe.
  std::size_t size() const { return size_; }

 private:
  Pipe(int read_end, int write_end) : read_end_(read_end), write_end_(write_end) {}

  int read_end_ = -1;
  int write_end_ = -1;
  std::size_t size_ = 0;
};

}  // namespace infinicache::net
