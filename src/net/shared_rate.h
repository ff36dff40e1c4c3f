// A bandwidth that several processes of one machine share: as instances on one host share its
// network card.
//
// It is the generic cell rate algorithm (ITU-T I.371, as policy::RateLimit) on one number in shared
// memory: when the bytes that all have moved so far will have been paid for, by CLOCK_MONOTONIC,
// which is one clock for all processes. Who moves bytes pays for them, and waits before moving more
// until no debt is left. There is no fairness beyond chance.
//
// Thread-safety: safe from any thread and process; lock-free.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/clock.h"
#include "base/result.h"

namespace infinicache::net {

class SharedRate {
 public:
  // Bytes may be moved so far ahead of their payment.
  static constexpr Duration kBurst = std::chrono::milliseconds(1);

  // The memory of a new rate, as a descriptor that is closed on exec; processes that share the rate
  // inherit it. Errors: kUnavailable.
  static Result<int> CreateMemory();
  // Maps the memory behind `fd`, which stays the caller's. REQUIRES: bytes_per_second > 0. Errors:
  // kInvalidArgument (not such memory).
  static Result<std::shared_ptr<SharedRate>> Open(int fd, std::uint64_t bytes_per_second);

  SharedRate(const SharedRate&) = delete;
  SharedRate& operator=(const SharedRate&) = delete;
  ~SharedRate();

  // `bytes` were moved.
  void Pay(std::uint64_t bytes, TimePoint now);
  // How long to wait before more are moved; 0 if they may.
  Duration Debt(TimePoint now) const;

 private:
  SharedRate(std::atomic<std::int64_t>* paid_at, std::uint64_t bytes_per_second)
      : paid_at_(paid_at), bytes_per_second_(bytes_per_second) {}

  std::atomic<std::int64_t>* paid_at_;  // nanoseconds
  const std::uint64_t bytes_per_second_;
};

}  // namespace infinicache::net
