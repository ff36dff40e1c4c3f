// Byte sizes as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace infinicache {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

// Reads "1536", "512MiB", "10 KB", "2GiB", "1.5GiB". KB/MB/GB/TB are powers of 1000,
// KiB/MiB/GiB/TiB and the bare letters K/M/G/T (as Redis and Kubernetes users write them) powers of
// 1024; case does not matter. Errors: kInvalidArgument, with the text and an example.
Result<std::uint64_t> ParseByteSize(std::string_view text);

// "512 MiB", "1.5 GiB", "17 B": three significant digits, binary units.
std::string FormatByteSize(std::uint64_t bytes);

constexpr std::uint64_t RoundUp(std::uint64_t value, std::uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
constexpr std::uint64_t DivideUp(std::uint64_t value, std::uint64_t divisor) {
  return (value + divisor - 1) / divisor;
}

}  // namespace infinicache
