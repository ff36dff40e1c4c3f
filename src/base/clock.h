// Time as an argument: code that decides never reads a clock itself, it is given one (or the time).
//
// Two kinds of time: TimePoint is monotonic and serves deadlines and durations; WallTime (Unix
// milliseconds) serves expiries, which must mean the same after a restart.
#pragma once

#include <chrono>
#include <cstdint>

namespace infinicache {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;
// Milliseconds since the Unix epoch.
using WallMillis = std::int64_t;

// Source of both times. Implementations are safe to call from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;
  virtual WallMillis WallNow() const = 0;
};

// The machine's clocks. Each call is one vDSO call (about 20 ns).
class SystemClock final : public Clock {
 public:
  TimePoint Now() const override { return std::chrono::steady_clock::now(); }
  WallMillis WallNow() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
};

// A clock that a test moves by hand. Not thread-safe.
class ManualClock final : public Clock {
 public:
  TimePoint Now() const override { return now_; }
  WallMillis WallNow() const override {
    return 1'700'000'000'000 +
           std::chrono::duration_cast<std::chrono::milliseconds>(now_.time_since_epoch()).count();
  }
  void Advance(Duration by) { now_ += by; }

 private:
  TimePoint now_{std::chrono::seconds(1)};
};

}  // namespace infinicache
