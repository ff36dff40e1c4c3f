#include "coding/linear_map.h"

#include <isa-l/erasure_code.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "base/limits.h"
#include "coding/gf256.h"

namespace infinicache::coding::internal {
namespace {

bool IsSum(const GfMatrix& matrix, std::size_t row) {
  for (std::size_t j = 0; j < matrix.columns(); ++j) {
    if (matrix.at(row, j) != 1) return false;
  }
  return true;
}

bool IsCopies(const GfMatrix& matrix) {
  if (matrix.columns() != 1) return false;
  for (std::size_t i = 0; i < matrix.rows(); ++i) {
    if (matrix.at(i, 0) != 1) return false;
  }
  return true;
}

}  // namespace

std::uint64_t AffineMatrix(std::uint8_t coefficient) {
  std::uint64_t matrix = 0;
  for (unsigned j = 0; j < 8; ++j) {
    const std::uint64_t image = GfMultiply(coefficient, static_cast<std::uint8_t>(1U << j));
    for (unsigned i = 0; i < 8; ++i) matrix |= ((image >> i) & 1) << ((7 - i) * 8 + j);
  }
  return matrix;
}

LinearMap::LinearMap(const GfMatrix& matrix, Kernel kernel)
    : inputs_count_(matrix.columns()),
      outputs_count_(matrix.rows()),
      copies_only_(IsCopies(matrix)) {
  CHECK(kernel != Kernel::kAuto && KernelSupported(kernel), "kernel {}", KernelName(kernel));
  CHECK(inputs_count_ >= 1 && inputs_count_ <= kCodeWidthMax, "{} inputs", inputs_count_);
  CHECK(outputs_count_ <= kCodeWidthMax, "{} outputs", outputs_count_);
  if (kernel == Kernel::kIsal) {
    PrepareIsal(matrix);
  } else {
    PrepareGfni(matrix, kernel);
  }
}

void LinearMap::PrepareGfni(const GfMatrix& matrix, Kernel kernel) {
  const auto choose = kernel == Kernel::kGfniAvx512 ? GfniAvx512Pass : GfniAvx2Pass;
  matrices_.reserve(inputs_count_ * outputs_count_);
  for (std::size_t begin = 0; begin < outputs_count_; begin += kPassOutputsMax) {
    const std::size_t end = std::min(begin + kPassOutputsMax, outputs_count_);
    passes_.push_back({.function = choose(end - begin, IsSum(matrix, begin)),
                       .outputs_begin = begin,
                       .matrices_begin = matrices_.size()});
    for (std::size_t j = 0; j < inputs_count_; ++j) {
      for (std::size_t i = begin; i < end; ++i) matrices_.push_back(AffineMatrix(matrix.at(i, j)));
    }
  }
}

void LinearMap::PrepareIsal(const GfMatrix& matrix) {
  std::vector<unsigned char> cells;
  for (std::size_t i = 0; i < outputs_count_; ++i) {
    for (std::size_t j = 0; j < inputs_count_; ++j) cells.push_back(matrix.at(i, j));
  }
  gf_tables_.resize(32 * cells.size());
  ec_init_tables(static_cast<int>(inputs_count_), static_cast<int>(outputs_count_), cells.data(),
                 gf_tables_.data());
}

void LinearMap::Apply(const std::byte* const* inputs, std::byte* const* outputs,
                      std::size_t bytes) const {
  if (bytes == 0) return;
  if (copies_only_) {
    for (std::size_t i = 0; i < outputs_count_; ++i) std::memcpy(outputs[i], inputs[0], bytes);
    return;
  }
  if (!gf_tables_.empty()) {
    ApplyIsal(inputs, outputs, bytes);
    return;
  }
  for (const Pass& pass : passes_) {
    pass.function(matrices_.data() + pass.matrices_begin, inputs_count_, inputs,
                  outputs + pass.outputs_begin, bytes);
  }
}

void LinearMap::ApplyIsal(const std::byte* const* inputs, std::byte* const* outputs,
                          std::size_t bytes) const {
  std::array<unsigned char*, kCodeWidthMax> sources;
  std::array<unsigned char*, kCodeWidthMax> targets;
  // ISA-L counts bytes in an int and declares its inputs without const.
  constexpr std::size_t kPieceBytesMax = std::size_t{1} << 30;
  for (std::size_t offset = 0; offset < bytes; offset += kPieceBytesMax) {
    for (std::size_t j = 0; j < inputs_count_; ++j) {
      sources[j] = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(inputs[j] + offset));
    }
    for (std::size_t i = 0; i < outputs_count_; ++i) {
      targets[i] = reinterpret_cast<unsigned char*>(outputs[i] + offset);
    }
    const std::size_t piece = std::min(kPieceBytesMax, bytes - offset);
    ec_encode_data(static_cast<int>(piece), static_cast<int>(inputs_count_),
                   static_cast<int>(outputs_count_), gf_tables_.data(), sources.data(),
                   targets.data());
  }
}

}  // namespace infinicache::coding::internal
