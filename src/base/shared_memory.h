// Memory that several processes of one machine and user map.
//
// One process creates it, others open it by the creator's process number and descriptor. Its size
// is sealed: no holder can take pages away under another. It lives as long as any process has it
// mapped, also when its creator has been killed. The kernel hands out its pages when they are first
// written, in pages of 4 KiB unless they are touched by Prefault.
//
// Thread-safety: an immutable handle; what is in the memory is its users' matter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace infinicache {

class SharedMemory {
 public:
  // `name` tells this memory from others, in Open and in /proc/PID/maps; at most 200 bytes.
  // Errors: kInternal.
  static Result<SharedMemory> Create(std::string_view name, std::uint64_t bytes);
  // What process `pid` holds as `fd`. Errors: kInternal (the process or the descriptor is gone, or
  // another user's), kInvalidArgument (it is something else: the numbers were used anew).
  static Result<SharedMemory> Open(int pid, int fd, std::string_view name);

  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&&) = delete;
  ~SharedMemory();

  // PrefaultMemory of [offset, offset+bytes). What lies on a boundary of 2 MiB becomes huge pages
  // where the kernel can make them, for all that have it mapped. It is asked to with MADV_COLLAPSE
  // (Linux 6.1), which heeds no setting: that for shared memory is `never` on most machines.
  // REQUIRES: within the memory.
  bool Prefault(std::uint64_t offset, std::size_t bytes) const;

  std::byte* data() const { return data_; }
  std::uint64_t bytes() const { return bytes_; }
  // By which others open it; -1 where it was opened.
  int fd() const { return fd_; }

 private:
  SharedMemory(std::byte* data, std::uint64_t bytes, int fd)
      : data_(data), bytes_(bytes), fd_(fd) {}

  std::byte* data_;
  std::uint64_t bytes_;
  int fd_;
};

}  // namespace infinicache
