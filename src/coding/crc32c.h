// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, as in iSCSI, RFC 3720): the checksum of
// every strip, in memory and on the wire.
//
// In a strip it finds every error of up to 3 flipped bits, of an odd number of flipped bits, and
// any burst of up to 32 bits; it is no protection against a hostile peer. Computed by ISA-L, which
// folds with VPCLMULQDQ where the CPU has it: about 70 GB/s in cache, 20 GB/s for 256 bytes.
//
// Thread-safety: a pure function.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace infinicache::coding {

// The CRC of `bytes`; with `seed`, of the bytes whose CRC is `seed` followed by `bytes`:
// Crc32c(b, Crc32c(a)) == Crc32c(a || b). Any length, any alignment. Crc32c of nothing is 0.
// The beginning of `next` is fetched into the cache meanwhile: what will be summed after this.
std::uint32_t Crc32c(std::span<const std::byte> bytes, std::uint32_t seed = 0,
                     std::span<const std::byte> next = {});

}  // namespace infinicache::coding
