#include "coding/uncached_copy.h"

#include <emmintrin.h>

#include <cstdint>
#include <cstring>

namespace infinicache::coding {
namespace {

constexpr std::size_t kLine = 64;  // written whole, or the processor reads it after all

}  // namespace

void CopyUncached(std::span<const std::byte> from, std::byte* to) {
  const std::byte* in = from.data();
  std::size_t left = from.size();
  const std::size_t head = -reinterpret_cast<std::uintptr_t>(to) % kLine;
  if (left < head + kLine) {
    std::memcpy(to, in, left);
    return;
  }
  std::memcpy(to, in, head);
  in += head;
  to += head;
  left -= head;
  for (; left >= kLine; in += kLine, to += kLine, left -= kLine) {
    const auto* const source = reinterpret_cast<const __m128i*>(in);
    auto* const target = reinterpret_cast<__m128i*>(to);
    for (int i = 0; i < 4; ++i) _mm_stream_si128(target + i, _mm_loadu_si128(source + i));
  }
  _mm_sfence();
  std::memcpy(to, in, left);
}

}  // namespace infinicache::coding
