// Reused, pre-faulted memory for the data path.
//
// Fresh memory costs more than the copy it is for (a first touch of 4 KiB takes 1.5–10 µs in a
// virtual machine), so buffers are cut from 1 MiB extents that are backed by huge pages, faulted
// once, and kept for reuse.
//
// Sizes are rounded up to a power of two between kBufferBytesMin and kBufferBytesMax. The pool
// counts what is lent out; whoever admits work (cache/) keeps that below its budget, and
// `bytes_reserved` is what the process really holds. Idle extents go back to the kernel by Trim().
//
// Thread-safety: none; one pool per event loop, buffers return to it on that loop. Ownership: a
// Buffer must not outlive its pool.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace infinicache {

class BufferPool;

// Owns one buffer of a pool; 64-byte aligned, contents undefined. Move-only; empty after a move.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    if (this != &other) {
      Reset();
      pool_ = std::exchange(other.pool_, nullptr);
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  ~Buffer() { Reset(); }

  void Reset();
  explicit operator bool() const { return data_ != nullptr; }
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }  // at least what was asked for
  std::span<std::byte> span() const { return {data_, size_}; }

 private:
  friend class BufferPool;
  Buffer(BufferPool* pool, std::byte* data, std::size_t size)
      : pool_(pool), data_(data), size_(size) {}

  BufferPool* pool_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

class BufferPool {
 public:
  static constexpr std::size_t kBufferBytesMin = 4 * kKiB;
  static constexpr std::size_t kBufferBytesMax = 8 * kMiB;

  // Bytes of the buffer that Allocate(bytes) gives.
  static std::size_t SizeFor(std::size_t bytes);

  BufferPool() = default;
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool();

  // A buffer of at least `bytes`. REQUIRES: bytes <= kBufferBytesMax. Stops the program if the
  // kernel has no memory: callers admit work against a budget first.
  Buffer Allocate(std::size_t bytes);

  // Gives idle memory above `keep_bytes` back to the kernel.
  void Trim(std::size_t keep_bytes);

  std::size_t bytes_lent() const { return bytes_lent_; }
  std::size_t bytes_reserved() const { return bytes_reserved_; }

 private:
  friend class Buffer;
  static constexpr std::size_t kClasses = 12;  // 4 KiB … 8 MiB

  void Free(std::byte* data, std::size_t size);

  // Free buffers by class; each buffer is a mapping of its own from kMappedBytesMin up, else a part
  // of an extent.
  std::array<std::vector<std::byte*>, kClasses> free_;
  std::vector<std::byte*> extents_;  // mappings cut into small buffers; freed with the pool
  std::size_t bytes_lent_ = 0;
  std::size_t bytes_reserved_ = 0;
};

}  // namespace infinicache
