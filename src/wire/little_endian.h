// Numbers in metadata blocks, byte by byte, lowest first.
#pragma once

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>

namespace infinicache::wire {

template <std::unsigned_integral T>
void AppendNumber(T value, std::string& out) {
  for (std::size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

// Takes it off the front. REQUIRES: `bytes` has as many.
template <std::unsigned_integral T>
T TakeNumber(std::string_view& bytes) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value =
        static_cast<T>(value | static_cast<T>(T{static_cast<unsigned char>(bytes[i])} << (8 * i)));
  bytes.remove_prefix(sizeof(T));
  return value;
}

}  // namespace infinicache::wire
