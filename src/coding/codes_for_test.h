// For tests of this module: the codes that are shipped and all ways to lose strips of one.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "coding/code.h"

namespace infinicache::coding {

inline constexpr std::array kCodesForTest = {
    Code{1, 0},  Code{1, 1},  Code{1, 2},  Code{1, 3},  Code{1, 4},  Code{2, 1}, Code{2, 2},
    Code{3, 2},  Code{4, 1},  Code{4, 2},  Code{5, 1},  Code{6, 2},  Code{8, 2}, Code{8, 4},
    Code{10, 1}, Code{10, 2}, Code{10, 4}, Code{12, 4}, Code{16, 4}, Code{20, 4}};

// Calls visit(mask) for every set of 1 to p strips of the code.
template <typename Visitor>
void ForEachLossForTest(Code code, const Visitor& visit) {
  for (unsigned count = 1; count <= code.parity; ++count) {
    std::uint64_t mask = (std::uint64_t{1} << count) - 1;
    while (mask >> code.width() == 0) {
      visit(mask);
      // The next larger number with as many bits (Gosper).
      const std::uint64_t low = mask & -mask;
      const std::uint64_t next = mask + low;
      mask = next | (((mask ^ next) >> 2) >> std::countr_zero(low));
    }
  }
}

// How many these are: the sum of the binomial coefficients.
inline std::size_t LossesForTest(Code code) {
  std::size_t sum = 0;
  std::size_t choose = 1;
  for (std::size_t count = 1; count <= code.parity; ++count) {
    choose = choose * (code.width() - count + 1) / count;
    sum += choose;
  }
  return sum;
}

}  // namespace infinicache::coding
