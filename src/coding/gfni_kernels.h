// Private to the module: the GFNI kernels behind LinearMap.
//
// A multiplication by a constant of GF(2^8) is linear over bits, so it is an 8x8 bit matrix, and
// GF2P8AFFINEQB applies one such matrix to every byte of a register. (Its sibling GF2P8MULB is of
// no use here: it is bound to another polynomial, 0x11B.)
//
// Thread-safety: pure functions. A kernel may only be called where KernelSupported says so.
#pragma once

#include <cstddef>
#include <cstdint>

#include "coding/kernel.h"

namespace infinicache::coding::internal {

// Strips computed in one pass over the inputs; more outputs take several passes. Four use 16
// accumulators of 64 bytes in AVX-512, which leaves registers for the inputs.
inline constexpr std::size_t kPassOutputsMax = 4;

// outputs[o] = sum over j of matrices[j * outputs + o] * inputs[j], for one pass. `bytes` is a
// positive multiple of 64. Output strips do not overlap any other strip.
using PassFunction = void (*)(const std::uint64_t* matrices, std::size_t inputs_count,
                              const std::byte* const* inputs, std::byte* const* outputs,
                              std::size_t bytes);

// The pass for `outputs` in [1, kPassOutputsMax]. With `first_is_sum`, the coefficients of output 0
// are all one and their matrices are not read. Null if this build has no such kernel.
PassFunction GfniAvx512Pass(std::size_t outputs, bool first_is_sum);
PassFunction GfniAvx2Pass(std::size_t outputs, bool first_is_sum);

// The operand of GF2P8AFFINEQB that multiplies by `coefficient`. Bit i of a result byte is the
// parity of (byte 7-i of the operand AND the input byte); so bit j of that byte is bit i of
// coefficient * 2^j.
std::uint64_t AffineMatrix(std::uint8_t coefficient);

}  // namespace infinicache::coding::internal
