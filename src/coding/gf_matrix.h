// Small matrices over GF(2^8), and the ones that define our code.
//
// The code is systematic: strip i of a row is the data strip i for i < d, and a sum of multiples of
// the data strips, given by row i - d of ParityMatrix, for i >= d. The parity matrix comes from the
// Cauchy matrix 1 / (x_i + y_j) with x_i = d + i and y_j = j, whose every square submatrix is
// invertible. Multiplying rows and columns by constants keeps that; we scale until the first row
// and the first column are all ones. So the first parity is a plain XOR, which is cheaper, and for
// d = 1 every parity is a copy. The matrix is part of the stored format: it must never change.
//
// Thread-safety: as std::vector. Cost: set-up work, about 7 µs for an inversion of 20 x 20; callers
// on the data path cache the results.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "coding/code.h"

namespace infinicache::coding {

class GfMatrix {
 public:
  // All zeros.
  GfMatrix(std::size_t rows, std::size_t columns)
      : rows_(rows), columns_(columns), cells_(rows * columns) {}

  static GfMatrix Identity(std::size_t size);

  std::size_t rows() const { return rows_; }
  std::size_t columns() const { return columns_; }

  // REQUIRES: row < rows(), column < columns().
  std::uint8_t& at(std::size_t row, std::size_t column) { return cells_[row * columns_ + column]; }
  std::uint8_t at(std::size_t row, std::size_t column) const {
    return cells_[row * columns_ + column];
  }

  // The rows whose bits are set in `mask`, in order.
  GfMatrix Rows(std::uint64_t mask) const;

  // REQUIRES: square and invertible.
  GfMatrix Inverse() const;

  friend GfMatrix operator*(const GfMatrix& left, const GfMatrix& right);
  friend bool operator==(const GfMatrix&, const GfMatrix&) = default;

 private:
  std::size_t rows_;
  std::size_t columns_;
  std::vector<std::uint8_t> cells_;  // row by row
};

// p x d. REQUIRES: IsValid(code).
GfMatrix ParityMatrix(Code code);

// (d+p) x d: the identity above ParityMatrix. Row i gives strip i from the data strips.
GfMatrix GeneratorMatrix(Code code);

// The matrix that gives the strips in `wanted` from the d strips in `sources` (bit masks of strip
// indices; rows and columns in ascending order). REQUIRES: `sources` has d bits.
GfMatrix ReconstructionMatrix(const GfMatrix& generator, std::uint64_t sources,
                              std::uint64_t wanted);

}  // namespace infinicache::coding
