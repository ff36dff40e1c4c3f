#include "coding/crc32c.h"

#include <immintrin.h>
#include <isa-l/crc.h>

#include <algorithm>

#include "base/map_memory.h"

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

// Of what was written long ago the first bytes of each page are waited for: processors fetch ahead
// within a page. So a page is summed while the beginning of the next one is fetched. Measured on an
// Intel Xeon with a 2 MiB L2 cache, strips of 64 KiB: 14.8 GB/s in place of 11.8 from memory, 69 in
// place of 80 from the cache.
constexpr std::size_t kStepBytes = kPageBytes;
constexpr std::size_t kFetchedBytes = 1 * kKiB;

void FetchBeginning(std::span<const std::byte> bytes) {
  constexpr std::size_t kLineBytes = 64;
  const std::size_t fetched = std::min(bytes.size(), kFetchedBytes);
  for (std::size_t at = 0; at < fetched; at += kLineBytes)
    _mm_prefetch(bytes.data() + at, _MM_HINT_T1);
}

}  // namespace

std::uint32_t Crc32c(std::span<const std::byte> bytes, std::uint32_t seed,
                     std::span<const std::byte> next) {
  // ISA-L leaves the standard's inversion before and after to us.
  std::uint32_t state = ~seed;
  while (!bytes.empty()) {
    const auto step = bytes.first(std::min(bytes.size(), kStepBytes));
    bytes = bytes.subspan(step.size());
    FetchBeginning(bytes.empty() ? next : bytes);
    // The parameter lacks a const; the function only reads.
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(step.data()));
    state = crc32_iscsi(data, static_cast<int>(step.size()), state);
  }
  EndWideCode();
  return ~state;
}

}  // namespace infinicache::coding
