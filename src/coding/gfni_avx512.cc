#include "coding/gfni_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

// An attribute per function rather than flags per file: inline functions of the standard library
// that are compiled here must not contain AVX-512, because the linker may keep that copy for all.
#define INFINICACHE_AVX512 [[gnu::target("avx512f,gfni")]]

namespace infinicache::coding::internal {
namespace {

constexpr std::size_t kVectorBytes = 64;

template <int kVectors>
struct Vectors {
  __m512i at[kVectors];
};

template <int kVectors>
INFINICACHE_AVX512 inline Vectors<kVectors> Load(const std::byte* from) {
  Vectors<kVectors> result;
  for (int v = 0; v < kVectors; ++v) result.at[v] = _mm512_loadu_si512(from + v * kVectorBytes);
  return result;
}

template <int kVectors>
INFINICACHE_AVX512 inline Vectors<kVectors> Multiply(const Vectors<kVectors>& x,
                                                     std::uint64_t affine_matrix) {
  __m512i matrix = _mm512_set1_epi64(static_cast<long long>(affine_matrix));
  // Keeps the matrix in a register. Otherwise the compiler may fold its load into GF2P8AFFINEQB,
  // and clang before 20 encodes the displacement of that form wrongly, so that the CPU reads other
  // memory (LLVM pull request 120340).
  asm("" : "+v"(matrix));
  Vectors<kVectors> result;
  for (int v = 0; v < kVectors; ++v) {
    result.at[v] = _mm512_gf2p8affine_epi64_epi8(x.at[v], matrix, 0);
  }
  return result;
}

// sum += x
template <int kVectors>
INFINICACHE_AVX512 inline void Add(Vectors<kVectors>& sum, const Vectors<kVectors>& x) {
  for (int v = 0; v < kVectors; ++v) sum.at[v] = _mm512_xor_si512(sum.at[v], x.at[v]);
}

// sum += x + y, in one instruction: 0x96 is the truth table of a three-way XOR.
template <int kVectors>
INFINICACHE_AVX512 inline void Add(Vectors<kVectors>& sum, const Vectors<kVectors>& x,
                                   const Vectors<kVectors>& y) {
  for (int v = 0; v < kVectors; ++v) {
    sum.at[v] = _mm512_ternarylogic_epi64(sum.at[v], x.at[v], y.at[v], 0x96);
  }
}

// Computes kVectors * 64 bytes of each output, beginning at `offset`. Several vectors at a time
// share the load of a matrix and of a strip's address; two inputs at a time share an addition.
template <int kOutputs, bool kFirstIsSum, int kVectors>
INFINICACHE_AVX512 inline void Step(const std::uint64_t* matrices, std::size_t inputs_count,
                                    const std::byte* const* inputs, std::byte* const* outputs,
                                    std::size_t offset) {
  Vectors<kVectors> sums[kOutputs];
  for (auto& sum : sums) {
    for (auto& vector : sum.at) vector = _mm512_setzero_si512();
  }
  std::size_t j = 0;
  for (; j + 2 <= inputs_count; j += 2, matrices += 2 * kOutputs) {
    const auto x = Load<kVectors>(inputs[j] + offset);
    const auto y = Load<kVectors>(inputs[j + 1] + offset);
    if (kFirstIsSum) Add(sums[0], x, y);
    for (int o = kFirstIsSum ? 1 : 0; o < kOutputs; ++o) {
      Add(sums[o], Multiply(x, matrices[o]), Multiply(y, matrices[kOutputs + o]));
    }
  }
  if (j < inputs_count) {
    const auto x = Load<kVectors>(inputs[j] + offset);
    if (kFirstIsSum) Add(sums[0], x);
    for (int o = kFirstIsSum ? 1 : 0; o < kOutputs; ++o) Add(sums[o], Multiply(x, matrices[o]));
  }
  for (int o = 0; o < kOutputs; ++o) {
    for (int v = 0; v < kVectors; ++v) {
      _mm512_storeu_si512(outputs[o] + offset + v * kVectorBytes, sums[o].at[v]);
    }
  }
}

template <int kOutputs, bool kFirstIsSum>
INFINICACHE_AVX512 void Pass(const std::uint64_t* matrices, std::size_t inputs_count,
                             const std::byte* const* inputs, std::byte* const* outputs,
                             std::size_t bytes) {
  constexpr int kVectors = 4;
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

PassFunction GfniAvx512Pass(std::size_t outputs, bool first_is_sum) {
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

PassFunction GfniAvx512Pass(std::size_t /*outputs*/, bool /*first_is_sum*/) {
  return nullptr;
}

}  // namespace infinicache::coding::internal

#endif
