// CRC32C (Castagnoli) of a few dozen bytes, for frame headers.
//
// Payloads are checked by the coding module, whose kernels are made for kilobytes; wire and coding
// are on the same floor and do not know each other, so the 60 bytes of a header have this small
// implementation: one crc32 instruction per 8 bytes where the CPU has SSE4.2 (asked once, at run
// time), a 256-entry table elsewhere. Both give the same values as coding's.
//
// Thread-safety: pure functions. Cost: about 10 ns for 60 bytes with SSE4.2, 150 ns without.
// Polynomial and check value: RFC 3720, section 12.1 and appendix B.4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace infinicache::wire {

// CRC32C of `bytes` in the usual convention (initial value and final xor 0xFFFFFFFF).
std::uint32_t HeaderCrc32c(std::span<const std::byte> bytes);

// The same by table; what HeaderCrc32c() falls back to.
std::uint32_t HeaderCrc32cPortable(std::span<const std::byte> bytes);

}  // namespace infinicache::wire
