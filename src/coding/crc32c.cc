#include "coding/crc32c.h"

#include <immintrin.h>
#include <isa-l/crc.h>

#include <algorithm>

namespace infinicache::coding {
namespace {

__attribute__((target("avx"))) void ClearUpperHalves() {
  _mm256_zeroupper();
}

// ISA-L 2.30 folds in 512 bits and leaves the upper halves of the registers in use. Each SSE
// instruction has to keep them from then on, and waits for whatever wrote them last; the rest of
// this program is SSE. A logarithm took 20 times as long.
void EndWideCode() {
  static const bool has_avx = __builtin_cpu_supports("avx") != 0;
  if (has_avx) ClearUpperHalves();
}

}  // namespace

std::uint32_t Crc32c(std::span<const std::byte> bytes, std::uint32_t seed) {
  // ISA-L counts bytes in an int, and leaves the standard's inversion before and after to us.
  constexpr std::size_t kPieceBytesMax = std::size_t{1} << 30;
  std::uint32_t state = ~seed;
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kPieceBytesMax));
    // The parameter lacks a const; the function only reads.
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(piece.data()));
    state = crc32_iscsi(data, static_cast<int>(piece.size()), state);
    bytes = bytes.subspan(piece.size());
  }
  EndWideCode();
  return ~state;
}

}  // namespace infinicache::coding
