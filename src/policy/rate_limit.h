// A rate limit for a stream of sends, and the estimate of a rate.
//
// RateLimit is the generic cell rate algorithm (ITU-T I.371): it remembers when the bytes taken so
// far will have been paid for. Whoever takes may go on at once up to `burst`, and has to wait for
// what is beyond. RateEstimate is an exponentially weighted average over about kWindow.
//
// Pure and cheap; not thread-safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>

#include "base/clock.h"

namespace infinicache::policy {

class RateLimit {
 public:
  // 0 bytes per second: no limit.
  RateLimit(std::uint64_t bytes_per_second, std::uint64_t burst_bytes)
      : bytes_per_second_(bytes_per_second), burst_(TimeOf(burst_bytes)) {}

  // Takes `bytes` and returns how long to wait before they are used.
  Duration Take(std::uint64_t bytes, TimePoint now) {
    if (bytes_per_second_ == 0) return Duration(0);
    paid_at_ = std::max(paid_at_, now - burst_) + TimeOf(bytes);
    return std::max(paid_at_ - now, Duration(0));
  }

 private:
  Duration TimeOf(std::uint64_t bytes) const {
    if (bytes_per_second_ == 0) return Duration(0);
    const double seconds = static_cast<double>(bytes) / static_cast<double>(bytes_per_second_);
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  }

  std::uint64_t bytes_per_second_;
  Duration burst_;
  TimePoint paid_at_{};
};

class RateEstimate {
 public:
  static constexpr Duration kWindow = std::chrono::seconds(5);

  // `total` is what has been counted by `now`. The first call sets the start.
  void Observe(std::uint64_t total, TimePoint now) {
    if (observed_at_ != TimePoint{} && now > observed_at_) {
      const double seconds = std::chrono::duration<double>(now - observed_at_).count();
      const double rate = static_cast<double>(total - total_) / seconds;
      const double weight = -std::expm1(-seconds / std::chrono::duration<double>(kWindow).count());
      per_second_ += weight * (rate - per_second_);
    }
    total_ = total;
    observed_at_ = now;
  }
  double per_second() const { return per_second_; }

 private:
  std::uint64_t total_ = 0;
  TimePoint observed_at_{};
  double per_second_ = 0;
};

}  // namespace infinicache::policy
