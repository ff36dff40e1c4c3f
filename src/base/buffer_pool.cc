#include "base/buffer_pool.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/map_memory.h"

namespace infinicache {
namespace {

// Buffers from this size are mappings of their own, so that Trim can return them one by one.
constexpr std::size_t kMappedBytesMin = 512 * kKiB;
constexpr std::size_t kExtentBytes = 1 * kMiB;

std::size_t ClassOf(std::size_t bytes) {
  const std::size_t rounded = std::bit_ceil(std::max(bytes, BufferPool::kBufferBytesMin));
  return static_cast<std::size_t>(std::countr_zero(rounded) -
                                  std::countr_zero(BufferPool::kBufferBytesMin));
}

std::size_t ClassBytes(std::size_t size_class) {
  return BufferPool::kBufferBytesMin << size_class;
}

}  // namespace

void Buffer::Reset() {
  if (data_ == nullptr) return;
  pool_->Free(data_, size_);
  data_ = nullptr;
  size_ = 0;
}

BufferPool::~BufferPool() {
  CHECK(bytes_lent_ == 0, "{} bytes of buffers outlive their pool", bytes_lent_);
  Trim(0);
  for (std::byte* extent : extents_) UnmapMemory(extent, kExtentBytes);
}

std::size_t BufferPool::SizeFor(std::size_t bytes) {
  return ClassBytes(ClassOf(bytes));
}

Buffer BufferPool::Allocate(std::size_t bytes) {
  CHECK(bytes <= kBufferBytesMax, "{} bytes", bytes);
  const std::size_t size_class = ClassOf(bytes);
  const std::size_t size = ClassBytes(size_class);
  std::vector<std::byte*>& free = free_[size_class];
  if (free.empty()) {
    const std::size_t mapped = std::max(size, size >= kMappedBytesMin ? size : kExtentBytes);
    std::byte* memory = MapMemory(mapped, Prefault::kYes);
    CHECK(memory != nullptr, "the kernel has no {} bytes for a buffer", mapped);
    bytes_reserved_ += mapped;
    if (size < kMappedBytesMin) extents_.push_back(memory);
    for (std::size_t offset = mapped; offset > 0; offset -= size)
      free.push_back(memory + offset - size);
  }
  std::byte* data = free.back();
  free.pop_back();
  bytes_lent_ += size;
  return Buffer(this, data, size);
}

void BufferPool::Free(std::byte* data, std::size_t size) {
  CHECK(bytes_lent_ >= size);
  bytes_lent_ -= size;
  free_[ClassOf(size)].push_back(data);
}

void BufferPool::Trim(std::size_t keep_bytes) {
  for (std::size_t size_class = kClasses;
       size_class-- > 0 && ClassBytes(size_class) >= kMappedBytesMin;) {
    while (!free_[size_class].empty() && bytes_reserved_ > keep_bytes) {
      UnmapMemory(free_[size_class].back(), ClassBytes(size_class));
      free_[size_class].pop_back();
      bytes_reserved_ -= ClassBytes(size_class);
    }
  }
}

}  // namespace infinicache
