#include "coding/kernel.h"

namespace infinicache::coding {

bool KernelSupported(Kernel kernel) {
  switch (kernel) {
    case Kernel::kAuto:
    case Kernel::kIsal:
      return true;
#if defined(__x86_64__)
    // __builtin_cpu_supports asks the operating system too: it saves the wide registers or not.
    case Kernel::kGfniAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("gfni");
    case Kernel::kGfniAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("gfni");
#else
    case Kernel::kGfniAvx512:
    case Kernel::kGfniAvx2:
      return false;
#endif
  }
  return false;
}

Kernel ResolveKernel(Kernel kernel) {
  if (kernel != Kernel::kAuto) return kernel;
  for (const Kernel candidate : kKernels) {
    if (KernelSupported(candidate)) return candidate;
  }
  return Kernel::kIsal;
}

std::string_view KernelName(Kernel kernel) {
  switch (kernel) {
    case Kernel::kAuto:
      return "auto";
    case Kernel::kGfniAvx512:
      return "gfni-avx512";
    case Kernel::kGfniAvx2:
      return "gfni-avx2";
    case Kernel::kIsal:
      return "isal";
  }
  return "unknown";
}

}  // namespace infinicache::coding
