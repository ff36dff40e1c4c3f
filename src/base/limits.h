// Compile-time limits, in one place. Run-time limits are settings (app/config.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace infinicache {

// The unit of coding, checksum and transfer. Wide codes have shorter ones, so that a row stays in
// the L2 cache. What a strip costs beside its bytes over a link (one frame, one system call each
// side) did not show at 64 KiB either (docs/adr/0022-short-strips-for-wide-codes.md).
inline constexpr std::size_t kStripBytesMax = 128 * kKiB;

// So far behind the start of a page lie strips in memory, of nodes and of the proxy. They are
// copied to and from socket buffers behind a few bytes of header, and a copy by `rep movsb` takes
// twice as long if it goes to an address that is 1 to 31 bytes ahead of its source, modulo a page
// (docs/adr/0019-strips-off-the-page.md).
inline constexpr std::size_t kStripPageOffset = 512;

// Strips are padded to this for coding (one cache line, and the step of the coding kernels).
inline constexpr std::size_t kStripAlignment = 64;

// What a node's memory counts: strips in whole blocks, and for each chunk this and its key. Nodes
// and the proxy's placement agree on it, so that a node is not found full after it was chosen.
inline constexpr std::size_t kStripBlockBytes = 1 * kKiB;
inline constexpr std::size_t kChunkOverheadBytes = 256;

// d + p of the widest code. Loss patterns are 64-bit masks.
inline constexpr std::size_t kCodeWidthMax = 32;

inline constexpr std::size_t kKeyBytesMax = 32 * kKiB;

// Nodes per pool: placement scans them all.
inline constexpr std::size_t kNodesMax = 4096;

}  // namespace infinicache
