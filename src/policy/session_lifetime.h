// When a node ends its session: the clock that keeps a function's billed time short.
//
// A session lives from Start to the Check that says so. It is extended by what happens in it, and
// ends when its intended end has passed with no request in flight:
//
//   * Billing quantum above the safety buffer (Lambda until December 2020 and Cloud Run: 100 ms):
//     the end lies just before a quantum begins that would be paid in full,
//
//       due = ceil((elapsed + extension) / quantum) * quantum - safety_buffer,
//
//     with extension = preflight_window for an announced request (invocation or preflight), the
//     safety buffer for a warm-up and after the first request, one quantum after the second and
//     each later one ("more will come"). This is the paper's anticipatory billed-duration control
//     (Wang et al., FAST 2020, section 3.3) with the constants of the published code
//     (lambda/lifetime/timeout.go).
//   * Shorter quanta (1 ms on Lambda today, 0 on an own cluster) cannot be aimed at, timers are
//     coarser. The session waits for an announced request for the break-even time of IdleStay, at
//     least a round trip: the request comes, and whoever left before it would only be invoked
//     again. It waits for another one after an answer as IdleStay says, at least a round trip, and
//     ends a warm-up at once.
//
// Requests in flight are not cut: past the intended end the session is re-armed by its last
// extension. Near the platform's maximum it drains: `maximum - safety_buffer - drain` after the
// start it accepts nothing new, and ends when it is idle. What still runs half a safety buffer
// before the maximum is given up: a platform that ends a session by force destroys the instance
// and its memory.
//
// What Promise() returned is kept, whatever follows, except that a frozen process keeps no promise.
//
// One object per instance, for all its sessions: it learns from gaps that span them. Time is
// monotonic and given; it may jump ahead (a thaw): the next Check ends or re-arms from the new
// time. Pure, O(1); not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "policy/idle_stay.h"
#include "policy/round_trip.h"

namespace infinicache::policy {

class SessionLifetime {
 public:
  struct Options {
    Duration quantum = std::chrono::milliseconds(1);
    Duration safety_buffer = std::chrono::milliseconds(10);
    Duration preflight_window = std::chrono::seconds(1);
    // The platform ends a session of this length by force.
    Duration maximum = std::chrono::minutes(15);
    // Time for what is in flight when the session stops to accept.
    Duration drain{0};
    // For quanta up to the safety buffer; see IdleStay.
    double idle_cost_per_second = 0;
    double invocation_cost = 0;
    Duration idle_max = std::chrono::minutes(1);
    RoundTrip::Options round_trip = {};
  };

  // Why the proxy invoked: a request follows, or none.
  enum class Opening { kRequest, kWarmUp };

  struct Verdict {
    bool ended = false;
    TimePoint next;  // when to Check again; none if ended
  };

  struct Totals {
    std::uint64_t requests = 0;  // finished ones
    Duration elapsed{0};
  };

  // How late a timer may be on a function of this size, and how long it takes from an announcement
  // to the request. Lambda gives CPU by memory, a whole core at 1792 MiB (constants of the
  // published code, lifetime/timeout.go, 2020).
  static Duration SafetyBuffer(std::uint64_t memory_bytes);
  static Duration PreflightWindow(std::uint64_t memory_bytes);

  // REQUIRES: 0 <= quantum; 0 < safety_buffer; safety_buffer + drain < maximum; no negative value.
  explicit SessionLifetime(Options options);

  // Opens a session that the platform bills since `started` <= now. A session that was open is
  // over: the platform has ended it without asking.
  void Start(TimePoint started, TimePoint now, Opening opening);

  // A preflight came: a request will follow. False (and no effect) if the session does not accept;
  // then it must not be answered with a PONG.
  [[nodiscard]] bool OnPreflight(TimePoint now);
  // A request came. False (and no effect) if the session does not accept; the proxy's BYE handling
  // sends it again.
  [[nodiscard]] bool OnRequestStarted(TimePoint now);
  // REQUIRES: one that was started in this session is in flight. Check afterwards: what drains may
  // be over now.
  void OnRequestFinished(TimePoint now);
  // The reader of an answer will ask for more: it took a part of a chunk. Nothing where quanta are
  // aimed at, since the next one is paid in full.
  void OnMoreExpected(TimePoint now);
  // From a PONG to the request that it brought.
  void ObserveRoundTrip(Duration round_trip) { round_trip_.Observe(round_trip); }

  bool Accepts(TimePoint now) const { return running_ && now < AcceptsUntil(); }

  // Until when the session certainly runs: for PONG. Within [now, due()], and kept.
  // REQUIRES: running().
  TimePoint Promise(TimePoint now);

  // Ends or re-arms the session. REQUIRES: running().
  Verdict Check(TimePoint now);

  bool running() const { return running_; }
  std::uint64_t in_flight() const { return in_flight_; }
  // The intended end, which moves.
  TimePoint due() const { return due_; }
  // For BYE, also after the end.
  Totals totals(TimePoint now) const { return {finished_, now - started_}; }

 private:
  bool Aligned() const { return options_.quantum > options_.safety_buffer; }
  TimePoint AlignedEnd(TimePoint now, Duration extension) const;
  TimePoint AcceptsUntil() const {
    return started_ + options_.maximum - options_.safety_buffer - options_.drain;
  }
  TimePoint GivesUpAt() const { return started_ + options_.maximum - options_.safety_buffer / 2; }
  Duration AnnouncedExtension() const;
  // Where quanta are not aimed at.
  Duration StayAfterAnswer() const;
  void Extend(TimePoint now, Duration extension);

  const Options options_;
  IdleStay idle_stay_;
  RoundTrip round_trip_;

  bool running_ = false;
  bool announced_ = false;  // it was opened for a request
  TimePoint started_;
  TimePoint due_;
  TimePoint promised_;
  Duration last_extension_{0};
  std::uint64_t in_flight_ = 0;
  std::uint64_t finished_ = 0;
  std::optional<TimePoint> idle_since_;  // of the last answer, in any session
};

}  // namespace infinicache::policy
