#include "coding/gfni_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

// An attribute per function rather than flags per file: inline functions of the standard library
// that are compiled here must not contain AVX2, because the linker may keep that copy for all.
#define INFINICACHE_AVX2 [[gnu::target("avx2,gfni")]]

namespace infinicache::coding::internal {
namespace {

constexpr std::size_t kVectorBytes = 32;

INFINICACHE_AVX2 inline __m256i Load(const std::byte* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

INFINICACHE_AVX2 inline void Store(std::byte* to, __m256i vector) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), vector);
}

// Computes kVectors * 32 bytes of each output, beginning at `offset`. Several vectors at a time
// share the load of a matrix and of a strip's address.
template <int kOutputs, bool kFirstIsSum, int kVectors>
INFINICACHE_AVX2 inline void Step(const std::uint64_t* matrices, std::size_t inputs_count,
                                  const std::byte* const* inputs, std::byte* const* outputs,
                                  std::size_t offset) {
  __m256i sum[kOutputs][kVectors];
  for (auto& row : sum) {
    for (auto& vector : row) vector = _mm256_setzero_si256();
  }
  for (std::size_t j = 0; j < inputs_count; ++j) {
    const std::byte* input = inputs[j] + offset;
    __m256i x[kVectors];
    for (int v = 0; v < kVectors; ++v) x[v] = Load(input + v * kVectorBytes);
    for (int o = 0; o < kOutputs; ++o) {
      if (kFirstIsSum && o == 0) {
        for (int v = 0; v < kVectors; ++v) sum[o][v] = _mm256_xor_si256(sum[o][v], x[v]);
        continue;
      }
      __m256i matrix = _mm256_set1_epi64x(static_cast<long long>(matrices[j * kOutputs + o]));
      asm("" : "+x"(matrix));  // see gfni_avx512.cc; flags like -march=native reach this file too
      for (int v = 0; v < kVectors; ++v) {
        const __m256i product = _mm256_gf2p8affine_epi64_epi8(x[v], matrix, 0);
        sum[o][v] = _mm256_xor_si256(sum[o][v], product);
      }
    }
  }
  for (int o = 0; o < kOutputs; ++o) {
    std::byte* output = outputs[o] + offset;
    for (int v = 0; v < kVectors; ++v) Store(output + v * kVectorBytes, sum[o][v]);
  }
}

template <int kOutputs, bool kFirstIsSum>
INFINICACHE_AVX2 void Pass(const std::uint64_t* matrices, std::size_t inputs_count,
                           const std::byte* const* inputs, std::byte* const* outputs,
                           std::size_t bytes) {
  // Two fit the 16 registers with up to four outputs.
  constexpr int kVectors = kOutputs <= 2 ? 4 : 2;
  constexpr std::size_t kStepBytes = kVectors * kVectorBytes;
  std::size_t offset = 0;
  for (; offset + kStepBytes <= bytes; offset += kStepBytes) {
    Step<kOutputs, kFirstIsSum, kVectors>(matrices, inputs_count, inputs, outputs, offset);
  }
  for (; offset < bytes; offset += kVectorBytes) {
    Step<kOutputs, kFirstIsSum, 1>(matrices, inputs_count, inputs, outputs, offset);
  }
}

}  // namespace

PassFunction GfniAvx2Pass(std::size_t outputs, bool first_is_sum) {
  static constexpr PassFunction kPasses[kPassOutputsMax][2] = {
      {Pass<1, false>, Pass<1, true>},
      {Pass<2, false>, Pass<2, true>},
      {Pass<3, false>, Pass<3, true>},
      {Pass<4, false>, Pass<4, true>},
  };
  return kPasses[outputs - 1][first_is_sum ? 1 : 0];
}

}  // namespace infinicache::coding::internal

#else

namespace infinicache::coding::internal {

PassFunction GfniAvx2Pass(std::size_t /*outputs*/, bool /*first_is_sum*/) {
  return nullptr;
}

}  // namespace infinicache::coding::internal

#endif
