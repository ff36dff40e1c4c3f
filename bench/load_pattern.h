// The content of the values that the load client stores.
//
// Byte p of the value of key k is byte (64*k + p) of one endless pseudo-random sequence, whose
// 8-byte word w is Mix(w), little-endian. So every value differs from every other, and any reader
// can check any value without having written it.
//
// Mix is the finaliser of SplitMix64 (Steele, Lea and Flood 2014), about 1 ns per word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace infinicache::bench {

inline constexpr std::size_t kPatternStep = 64;

inline std::uint64_t PatternWord(std::uint64_t index) {
  std::uint64_t x = (index + 1) * 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

// Writes `bytes` bytes to `to`, beginning with the value of key `key`. The value of key + n begins
// kPatternStep * n further on.
inline void FillPattern(std::byte* to, std::size_t bytes, std::size_t key) {
  const std::size_t first_word = key * kPatternStep / 8;
  for (std::size_t at = 0; at < bytes; at += 8) {
    const std::uint64_t word = PatternWord(first_word + at / 8);
    std::memcpy(to + at, &word, bytes - at < 8 ? bytes - at : 8);
  }
}

// Position of the first byte of `value` that is not as key `key` has it; `bytes` if all are right.
inline std::size_t FirstMismatch(const std::byte* value, std::size_t bytes, std::size_t key) {
  const std::size_t first_word = key * kPatternStep / 8;
  for (std::size_t at = 0; at < bytes; at += 8) {
    const std::uint64_t word = PatternWord(first_word + at / 8);
    const std::size_t length = bytes - at < 8 ? bytes - at : 8;
    if (std::memcmp(value + at, &word, length) != 0) return at;
  }
  return bytes;
}

}  // namespace infinicache::bench
