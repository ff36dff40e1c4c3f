// Which machine instructions multiply strips.
//
// Thread-safety: pure functions. The choice is made from CPUID at run time, so one binary runs on
// any x86-64; on other processors ISA-L has its own kernels.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace infinicache::coding {

enum class Kernel : std::uint8_t {
  kAuto,        // the best that this CPU supports
  kGfniAvx512,  // 64 bytes per instruction
  kGfniAvx2,    // 32 bytes per instruction
  kIsal,        // ISA-L; runs everywhere
};

// Best first; without kAuto.
inline constexpr std::array kKernels = {Kernel::kGfniAvx512, Kernel::kGfniAvx2, Kernel::kIsal};

// True if this CPU can run it; always true for kAuto and kIsal.
bool KernelSupported(Kernel kernel);

// kAuto becomes the best supported kernel, others stay.
Kernel ResolveKernel(Kernel kernel);

// "gfni-avx512", for logs and benchmarks.
std::string_view KernelName(Kernel kernel);

}  // namespace infinicache::coding
