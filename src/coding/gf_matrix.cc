#include "coding/gf_matrix.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"
#include "coding/gf256.h"

namespace infinicache::coding {
namespace {

// row[i] *= factor
void ScaleRow(GfMatrix& matrix, std::size_t row, std::uint8_t factor) {
  for (std::size_t j = 0; j < matrix.columns(); ++j) {
    matrix.at(row, j) = GfMultiply(matrix.at(row, j), factor);
  }
}

// target += factor * source
void AddRow(GfMatrix& matrix, std::size_t target, std::size_t source, std::uint8_t factor) {
  for (std::size_t j = 0; j < matrix.columns(); ++j) {
    matrix.at(target, j) ^= GfMultiply(matrix.at(source, j), factor);
  }
}

void SwapRows(GfMatrix& matrix, std::size_t a, std::size_t b) {
  for (std::size_t j = 0; j < matrix.columns(); ++j) std::swap(matrix.at(a, j), matrix.at(b, j));
}

}  // namespace

GfMatrix GfMatrix::Identity(std::size_t size) {
  GfMatrix result(size, size);
  for (std::size_t i = 0; i < size; ++i) result.at(i, i) = 1;
  return result;
}

GfMatrix GfMatrix::Rows(std::uint64_t mask) const {
  CHECK(rows_ >= 64 || mask >> rows_ == 0, "rows {:b} of {}", mask, rows_);
  GfMatrix result(static_cast<std::size_t>(std::popcount(mask)), columns_);
  for (std::size_t i = 0; i < result.rows(); ++i, mask &= mask - 1) {
    const auto row = static_cast<std::size_t>(std::countr_zero(mask));
    for (std::size_t j = 0; j < columns_; ++j) result.at(i, j) = at(row, j);
  }
  return result;
}

// Gauss-Jordan: what turns the matrix into the identity turns the identity into the inverse.
GfMatrix GfMatrix::Inverse() const {
  CHECK(rows_ == columns_, "{} x {}", rows_, columns_);
  GfMatrix left = *this;
  GfMatrix right = Identity(rows_);
  for (std::size_t i = 0; i < rows_; ++i) {
    std::size_t pivot = i;
    while (pivot < rows_ && left.at(pivot, i) == 0) ++pivot;
    CHECK(pivot < rows_, "singular matrix");
    if (pivot != i) {
      SwapRows(left, pivot, i);
      SwapRows(right, pivot, i);
    }
    const std::uint8_t scale = GfDivide(1, left.at(i, i));
    ScaleRow(left, i, scale);
    ScaleRow(right, i, scale);
    for (std::size_t row = 0; row < rows_; ++row) {
      const std::uint8_t factor = left.at(row, i);
      if (row == i || factor == 0) continue;
      AddRow(left, row, i, factor);
      AddRow(right, row, i, factor);
    }
  }
  return right;
}

GfMatrix operator*(const GfMatrix& left, const GfMatrix& right) {
  CHECK(left.columns() == right.rows(), "{} columns by {} rows", left.columns(), right.rows());
  GfMatrix result(left.rows(), right.columns());
  for (std::size_t i = 0; i < left.rows(); ++i) {
    for (std::size_t k = 0; k < left.columns(); ++k) {
      for (std::size_t j = 0; j < right.columns(); ++j) {
        result.at(i, j) ^= GfMultiply(left.at(i, k), right.at(k, j));
      }
    }
  }
  return result;
}

GfMatrix ParityMatrix(Code code) {
  CHECK(IsValid(code), "code {}", code.ToString());
  const std::size_t data = code.data;
  const auto cauchy = [data](std::size_t i, std::size_t j) {
    return GfDivide(1, static_cast<std::uint8_t>((data + i) ^ j));
  };
  GfMatrix result(code.parity, data);
  for (std::size_t i = 0; i < result.rows(); ++i) {
    // Columns are divided by their first cell; then rows by what that leaves in theirs.
    const std::uint8_t first = GfDivide(cauchy(i, 0), cauchy(0, 0));
    for (std::size_t j = 0; j < data; ++j) {
      result.at(i, j) = GfDivide(GfDivide(cauchy(i, j), cauchy(0, j)), first);
    }
  }
  return result;
}

GfMatrix GeneratorMatrix(Code code) {
  const GfMatrix parity = ParityMatrix(code);
  GfMatrix result(code.width(), code.data);
  for (std::size_t i = 0; i < code.data; ++i) result.at(i, i) = 1;
  for (std::size_t i = 0; i < parity.rows(); ++i) {
    for (std::size_t j = 0; j < code.data; ++j) result.at(code.data + i, j) = parity.at(i, j);
  }
  return result;
}

GfMatrix ReconstructionMatrix(const GfMatrix& generator, std::uint64_t sources,
                              std::uint64_t wanted) {
  return generator.Rows(wanted) * generator.Rows(sources).Inverse();
}

}  // namespace infinicache::coding
