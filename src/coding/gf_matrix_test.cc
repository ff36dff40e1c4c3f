#include "coding/gf_matrix.h"

#include <gtest/gtest.h>

#include <bit>
#include <set>
#include <vector>

#include "base/random.h"
#include "coding/codes_for_test.h"
#include "coding/gf256.h"
#include "coding/gfni_kernels.h"

namespace infinicache::coding {
namespace {

// Multiplication from the definition: polynomials over bits, modulo 0x11D.
constexpr std::uint8_t SlowMultiply(unsigned a, unsigned b) {
  unsigned result = 0;
  for (unsigned bit = 0; bit < 8; ++bit) {
    if (b >> bit & 1) result ^= a << bit;
  }
  for (unsigned bit = 15; bit >= 8; --bit) {
    if (result >> bit & 1) result ^= 0x11DU << (bit - 8);
  }
  return static_cast<std::uint8_t>(result);
}

TEST(Gf256, MultiplicationIsThatOfPolynomialsModulo11D) {
  for (unsigned a = 0; a < 256; ++a) {
    for (unsigned b = 0; b < 256; ++b) {
      const auto x = static_cast<std::uint8_t>(a);
      const auto y = static_cast<std::uint8_t>(b);
      ASSERT_EQ(GfMultiply(x, y), SlowMultiply(a, b)) << a << " * " << b;
      if (b != 0) ASSERT_EQ(GfDivide(GfMultiply(x, y), y), x) << a << " / " << b;
    }
  }
}

// What GF2P8AFFINEQB does to one byte, from the manual.
std::uint8_t Affine(std::uint64_t matrix, std::uint8_t x) {
  unsigned result = 0;
  for (unsigned i = 0; i < 8; ++i) {
    const auto row = static_cast<std::uint8_t>(matrix >> ((7 - i) * 8));
    result |= static_cast<unsigned>(std::popcount(static_cast<std::uint8_t>(row & x)) & 1) << i;
  }
  return static_cast<std::uint8_t>(result);
}

TEST(AffineMatrix, MultipliesEveryByteByEveryCoefficient) {
  for (unsigned c = 0; c < 256; ++c) {
    const std::uint64_t matrix = internal::AffineMatrix(static_cast<std::uint8_t>(c));
    for (unsigned x = 0; x < 256; ++x) {
      ASSERT_EQ(Affine(matrix, static_cast<std::uint8_t>(x)), SlowMultiply(c, x)) << c << " " << x;
    }
  }
}

GfMatrix SlowProduct(const GfMatrix& left, const GfMatrix& right) {
  GfMatrix result(left.rows(), right.columns());
  for (std::size_t i = 0; i < left.rows(); ++i) {
    for (std::size_t j = 0; j < right.columns(); ++j) {
      for (std::size_t k = 0; k < left.columns(); ++k) {
        result.at(i, j) ^= SlowMultiply(left.at(i, k), right.at(k, j));
      }
    }
  }
  return result;
}

TEST(GfMatrix, InverseUndoesInvertibleMatricesOfEverySize) {
  Random random(1);
  for (std::size_t size = 1; size <= 32; ++size) {
    // Products of an upper and a lower triangle with non-zero diagonals, rows reversed so that
    // pivots must be searched.
    GfMatrix upper(size, size);
    GfMatrix lower(size, size);
    for (std::size_t i = 0; i < size; ++i) {
      for (std::size_t j = i; j < size; ++j) {
        upper.at(i, j) = static_cast<std::uint8_t>(1 + random.Below(255));
        lower.at(size - 1 - j, i) = static_cast<std::uint8_t>(1 + random.Below(255));
      }
    }
    const GfMatrix matrix = SlowProduct(upper, lower);
    EXPECT_EQ(matrix * matrix.Inverse(), GfMatrix::Identity(size)) << size;
    EXPECT_EQ(SlowProduct(matrix.Inverse(), matrix), GfMatrix::Identity(size)) << size;
  }
}

TEST(GfMatrixDeathTest, RefusesToInvertASingularMatrix) {
  GfMatrix matrix(2, 2);
  matrix.at(0, 0) = matrix.at(0, 1) = matrix.at(1, 0) = matrix.at(1, 1) = 7;
  EXPECT_DEATH(matrix.Inverse(), "singular");
}

TEST(ParityMatrix, FirstRowAndFirstColumnAreOnes) {
  for (const Code code : kCodesForTest) {
    const GfMatrix parity = ParityMatrix(code);
    if (parity.rows() == 0) continue;
    for (std::size_t j = 0; j < parity.columns(); ++j) EXPECT_EQ(parity.at(0, j), 1);
    for (std::size_t i = 0; i < parity.rows(); ++i) EXPECT_EQ(parity.at(i, 0), 1);
  }
}

// Stored data depend on it: these cells must stay what they are for ever.
TEST(ParityMatrix, OfTheDefaultCodeIsPinned) {
  const GfMatrix parity = ParityMatrix({10, 2});
  std::vector<int> second;
  for (std::size_t j = 0; j < 10; ++j) second.push_back(parity.at(1, j));
  EXPECT_EQ(second, (std::vector<int>{1, 147, 138, 73, 93, 161, 103, 58, 99, 178}));
}

// All losses of up to p strips: what is rebuilt is what the generator says. Losses of exactly p
// leave every set of d strips in turn, so this is also the proof that any d suffice, and with it
// that every square submatrix of the parity matrix is invertible.
TEST(ReconstructionMatrix, RebuildsEveryLossOfEveryShippedCode) {
  for (const Code code : kCodesForTest) {
    const GfMatrix generator = GeneratorMatrix(code);
    const std::uint64_t all = (std::uint64_t{1} << code.width()) - 1;
    std::size_t patterns = 0;
    ForEachLossForTest(code, [&](std::uint64_t lost) {
      std::uint64_t sources = all & ~lost;
      while (std::popcount(sources) > int{code.data}) {
        sources &= ~std::bit_floor(sources);
      }
      const GfMatrix rebuild = ReconstructionMatrix(generator, sources, lost);
      ASSERT_EQ(SlowProduct(rebuild, generator.Rows(sources)), generator.Rows(lost))
          << code.ToString() << std::hex << " lost " << lost;
      ++patterns;
    });
    ASSERT_EQ(patterns, LossesForTest(code)) << code.ToString();
    if (HasFatalFailure()) return;
  }
}

// The same property, directly, where the number of submatrices allows it: minors of size 1 and 2.
TEST(ParityMatrix, HasNoZeroCellAndNoSingularPair) {
  for (const Code code : kCodesForTest) {
    const GfMatrix parity = ParityMatrix(code);
    for (std::size_t a = 0; a < parity.rows(); ++a) {
      std::set<std::uint8_t> seen;
      for (std::size_t i = 0; i < parity.columns(); ++i) {
        EXPECT_NE(parity.at(a, i), 0);
        for (std::size_t b = a + 1; b < parity.rows(); ++b) {
          for (std::size_t j = i + 1; j < parity.columns(); ++j) {
            EXPECT_NE(SlowMultiply(parity.at(a, i), parity.at(b, j)),
                      SlowMultiply(parity.at(a, j), parity.at(b, i)));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace infinicache::coding
