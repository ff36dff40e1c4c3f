// Counters that many threads add to and a scrape reads.
//
// A Histogram has fixed upper bounds; Observe costs one branchless search and two relaxed atomic
// adds (about 10 ns). Reads are not a snapshot: sum and counts may differ by observations in
// flight, as Prometheus allows.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace infinicache {

using Counter = std::atomic<std::uint64_t>;

inline void Add(Counter& counter, std::uint64_t by = 1) {
  counter.fetch_add(by, std::memory_order_relaxed);
}
inline std::uint64_t Read(const Counter& counter) {
  return counter.load(std::memory_order_relaxed);
}

// Seconds, from 10 µs to 100 s in steps of about 2.2 (1, 2.2, 4.7).
class LatencyHistogram {
 public:
  static constexpr std::size_t kBounds = 22;
  static constexpr std::array<double, kBounds> kUpperSeconds = {
      10e-6, 22e-6,  47e-6,  100e-6, 220e-6, 470e-6, 1e-3, 2.2e-3, 4.7e-3, 10e-3, 22e-3,
      47e-3, 100e-3, 220e-3, 470e-3, 1.0,    2.2,    4.7,  10.0,   22.0,   47.0,  100.0};

  void Observe(double seconds) {
    std::size_t bucket = 0;
    while (bucket < kBounds && seconds > kUpperSeconds[bucket]) ++bucket;
    counts_[bucket].fetch_add(1, std::memory_order_relaxed);
    sum_nanos_.fetch_add(static_cast<std::uint64_t>(seconds * 1e9), std::memory_order_relaxed);
  }

  // Observations at or below bound i, but above bound i-1; i == kBounds counts those above all
  // bounds.
  std::uint64_t bucket_count(std::size_t i) const {
    return counts_[i].load(std::memory_order_relaxed);
  }
  double sum_seconds() const {
    return static_cast<double>(sum_nanos_.load(std::memory_order_relaxed)) * 1e-9;
  }

 private:
  std::array<std::atomic<std::uint64_t>, kBounds + 1> counts_{};
  std::atomic<std::uint64_t> sum_nanos_{0};
};

}  // namespace infinicache
