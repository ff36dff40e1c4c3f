// Whether a request needs a PING before it, to learn if the node's session still runs.
//
// Never on a platform that notifies: there the node says BYE before a session ends, and what
// crossed it is sent again. Elsewhere a request written to a frozen instance waits unseen, so the
// proxy asks first, unless the node has promised to run for longer: a promise of `remaining` that
// arrives at t was given at t - (its way) and must cover the way of the request, hence
//
//   not needed  <=>  now + margin < t + remaining,    margin: smoothed round trip + 4 deviations.
//
// The original asked before every request, microseconds after an answer too.
//
// One object per node. Pure, O(1); not thread-safe.
#pragma once

#include <algorithm>

#include "base/clock.h"
#include "policy/round_trip.h"

namespace infinicache::policy {

class Preflight {
 public:
  struct Options {
    bool notifies = false;
    RoundTrip::Options round_trip = {};
  };

  explicit Preflight(Options options)
      : notifies_(options.notifies), round_trip_(options.round_trip) {}

  // From a PING to its PONG.
  void ObserveRoundTrip(Duration round_trip) { round_trip_.Observe(round_trip); }

  // The node said, in a message that arrived at some t, that it runs until `runs_until` =
  // t + remaining. Promises of one session are all kept, so the furthest counts.
  void OnPromise(TimePoint runs_until) { runs_until_ = std::max(runs_until_, runs_until); }
  // Nothing is promised any more: the session ended, or its link did.
  void OnSessionEnded() { runs_until_ = TimePoint::min(); }

  bool Needed(TimePoint now) const { return NotNeededUntil() <= now; }
  // Max: at no time in this session. Min: now.
  TimePoint NotNeededUntil() const {
    if (notifies_) return TimePoint::max();
    return runs_until_ == TimePoint::min() ? runs_until_ : runs_until_ - Margin();
  }

  // What is left of a promise for its way and the request's.
  Duration Margin() const { return round_trip_.Margin(); }

 private:
  bool notifies_;
  RoundTrip round_trip_;
  TimePoint runs_until_ = TimePoint::min();
};

}  // namespace infinicache::policy
