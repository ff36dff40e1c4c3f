// Private to the module: a matrix over GF(2^8), prepared to be applied to strips by one kernel.
//
// Thread-safety: immutable after construction. Cost: 8 bytes per cell (ISA-L: 32), one allocation;
// construction below 2 µs for 10 x 2; Apply allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "coding/gf_matrix.h"
#include "coding/gfni_kernels.h"
#include "coding/kernel.h"

namespace infinicache::coding::internal {

class LinearMap {
 public:
  // REQUIRES: KernelSupported(kernel), and kernel is not kAuto.
  LinearMap(const GfMatrix& matrix, Kernel kernel);

  std::size_t inputs_count() const { return inputs_count_; }
  std::size_t outputs_count() const { return outputs_count_; }

  // outputs[i] = sum over j of matrix(i, j) * inputs[j], bytewise. REQUIRES: `bytes` a multiple of
  // 64; outputs overlap neither each other nor the inputs.
  void Apply(const std::byte* const* inputs, std::byte* const* outputs, std::size_t bytes) const;

 private:
  struct Pass {
    PassFunction function;
    std::size_t outputs_begin;
    std::size_t matrices_begin;
  };

  void PrepareGfni(const GfMatrix& matrix, Kernel kernel);
  void PrepareIsal(const GfMatrix& matrix);
  void ApplyIsal(const std::byte* const* inputs, std::byte* const* outputs,
                 std::size_t bytes) const;

  std::size_t inputs_count_;
  std::size_t outputs_count_;
  bool copies_only_;                     // one input and every coefficient one: replication
  std::vector<Pass> passes_;             // GFNI: groups of up to kPassOutputsMax outputs
  std::vector<std::uint64_t> matrices_;  // GFNI: per pass, per input, per output
  mutable std::vector<unsigned char> gf_tables_;  // ISA-L; it takes them as mutable, but only reads
};

}  // namespace infinicache::coding::internal
