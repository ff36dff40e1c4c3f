// How frames carry a duration: in whole microseconds.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "base/clock.h"

namespace infinicache::wire {

// A year: more than any session, and far from an overflow in nanoseconds.
inline constexpr std::uint64_t kMicrosecondsMax = 365ULL * 24 * 3600 * 1'000'000;

// Within [0, kMicrosecondsMax], as is what comes back.
inline std::uint64_t ToMicroseconds(Duration duration) {
  const auto count = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  return std::min(static_cast<std::uint64_t>(std::max<std::int64_t>(count, 0)), kMicrosecondsMax);
}

inline Duration FromMicroseconds(std::uint64_t count) {
  return std::chrono::microseconds(std::min(count, kMicrosecondsMax));
}

}  // namespace infinicache::wire
