// Arithmetic in GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11D), where 2 generates every non-zero
// element. Addition is XOR.
//
// For matrices and tables only; bytes of strips go through the kernels (coding/linear_map.h).
// Thread-safety: pure functions over tables made at compile time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace infinicache::coding {

inline constexpr unsigned kGfPolynomial = 0x11D;

namespace internal {

struct GfTables {
  std::array<std::uint8_t, 510> power{};  // power[i] = 2^i, twice over, so that sums need no modulo
  std::array<std::uint8_t, 256> log{};    // log[0] is not used
};

constexpr GfTables MakeGfTables() {
  GfTables tables;
  unsigned value = 1;
  for (unsigned i = 0; i < 255; ++i) {
    tables.power[i] = tables.power[i + 255] = static_cast<std::uint8_t>(value);
    tables.log[value] = static_cast<std::uint8_t>(i);
    value <<= 1;
    if (value > 0xFF) value ^= kGfPolynomial;
  }
  return tables;
}

inline constexpr GfTables kGfTables = MakeGfTables();

}  // namespace internal

constexpr std::uint8_t GfMultiply(std::uint8_t a, std::uint8_t b) {
  if (a == 0 || b == 0) return 0;
  const auto& tables = internal::kGfTables;
  return tables.power[std::size_t{tables.log[a]} + tables.log[b]];
}

// REQUIRES: b != 0.
constexpr std::uint8_t GfDivide(std::uint8_t a, std::uint8_t b) {
  if (a == 0) return 0;
  const auto& tables = internal::kGfTables;
  return tables.power[std::size_t{tables.log[a]} + 255 - tables.log[b]];
}

}  // namespace infinicache::coding
