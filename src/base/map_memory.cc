#include "base/map_memory.h"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "base/check.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace infinicache {
namespace {

// Address space for `bytes`, on a boundary of huge pages if it is as long as one; nullptr if there
// is none. What is mapped there comes in its place (MAP_FIXED).
std::byte* ReserveAligned(std::size_t bytes) {
  const std::size_t slack = bytes >= kHugePageBytes ? kHugePageBytes : 0;
  void* mapped =
      mmap(nullptr, bytes + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* data = static_cast<std::byte*>(mapped);
  if (slack > 0) {
    const auto address = reinterpret_cast<std::uintptr_t>(data);
    const std::size_t head = RoundUp(address, kHugePageBytes) - address;
    const std::size_t tail = slack - head;
    if (head > 0) munmap(data, head);
    data += head;
    if (tail > 0) munmap(data + RoundUp(bytes, kPageBytes), tail);
  }
  return data;
}

std::byte* MapAligned(std::size_t bytes, int flags, int fd) {
  std::byte* const data = ReserveAligned(bytes);
  if (data == nullptr) return nullptr;
  if (mmap(data, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) != MAP_FAILED)
    return data;
  const int error = errno;
  UnmapMemory(data, bytes);
  errno = error;
  return nullptr;
}

}  // namespace

std::byte* MapMemory(std::size_t bytes, Prefault prefault) {
  std::byte* const data = MapAligned(bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  if (data == nullptr) return nullptr;
  if (bytes >= kHugePageBytes) madvise(data, bytes, MADV_HUGEPAGE);
  if (prefault == Prefault::kYes && !PrefaultMemory(data, bytes)) {
    UnmapMemory(data, bytes);
    return nullptr;
  }
  return data;
}

std::byte* MapSharedMemory(int fd, std::size_t bytes) {
  return MapAligned(bytes, MAP_SHARED, fd);
}

bool PrefaultMemory(std::byte* data, std::size_t bytes) {
  if (madvise(data, bytes, MADV_POPULATE_WRITE) == 0) return true;
  // Before Linux 5.14: write one byte of each page, as it is.
  for (std::size_t offset = 0; offset < bytes; offset += kPageBytes) {
    std::atomic_ref(*reinterpret_cast<unsigned char*>(data + offset)).fetch_or(0);
  }
  return true;
}

void UnmapMemory(std::byte* data, std::size_t bytes) {
  CHECK(munmap(data, bytes) == 0);
}

}  // namespace infinicache
