// Copies past the cache, for what is written once and not read soon: a copy of a strip that goes to
// a node's memory. The lines that it is written to are not read first, and evict nothing. Where
// they were in no cache that takes 15 µs for 200 KB where memcpy takes 20 (Intel Xeon, 2026-11).
//
// Thread-safety: a function on the caller's memory.
#pragma once

#include <cstddef>
#include <span>

namespace infinicache::coding {

// As memcpy of all of `from`. REQUIRES: they do not overlap.
void CopyUncached(std::span<const std::byte> from, std::byte* to);

}  // namespace infinicache::coding
