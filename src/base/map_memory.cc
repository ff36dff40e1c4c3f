#include "base/map_memory.h"

#include <sys/mman.h>

#include <cstdint>

#include "base/check.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace infinicache {
namespace {
constexpr std::size_t kHugePageBytes = 2 * kMiB;
}  // namespace

std::byte* MapMemory(std::size_t bytes, Prefault prefault) {
  const std::size_t slack = bytes >= kHugePageBytes ? kHugePageBytes : 0;
  void* mapped = mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* data = static_cast<std::byte*>(mapped);
  if (slack > 0) {
    const auto address = reinterpret_cast<std::uintptr_t>(data);
    const std::size_t head = RoundUp(address, kHugePageBytes) - address;
    const std::size_t tail = slack - head;
    if (head > 0) munmap(data, head);
    data += head;
    if (tail > 0) munmap(data + RoundUp(bytes, kPageBytes), tail);
    madvise(data, bytes, MADV_HUGEPAGE);
  }
  if (prefault == Prefault::kYes && !PrefaultMemory(data, bytes)) {
    UnmapMemory(data, bytes);
    return nullptr;
  }
  return data;
}

bool PrefaultMemory(std::byte* data, std::size_t bytes) {
  if (madvise(data, bytes, MADV_POPULATE_WRITE) == 0) return true;
  // Before Linux 5.14: write one byte of each page.
  for (std::size_t offset = 0; offset < bytes; offset += kPageBytes) {
    *reinterpret_cast<volatile char*>(data + offset) = 0;
  }
  return true;
}

void UnmapMemory(std::byte* data, std::size_t bytes) {
  CHECK(munmap(data, bytes) == 0);
}

}  // namespace infinicache
