// What is at risk now, and what is to be expected: the figures behind `infinicache doctor`.
//
// The prediction is that of policy/availability.h on the losses of instances that were observed:
// those of the event log, by windows of kWindow, over the last kObservedMax. It holds for objects
// of the pool's full code, if what a window's losses took is repaired before the next window, and
// instances go on to be lost as they were.
//
// Pure functions on values.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cache/cache.h"
#include "coding/code.h"
#include "pool/event_log.h"

namespace infinicache::admin {

struct DoctorView {
  cache::Risk risk;
  coding::Code code;
  std::size_t nodes = 0;
  std::size_t nodes_active = 0;
  std::uint64_t objects_lost = 0;  // since the start
  // Instances that were lost in each window observed, the oldest first.
  std::vector<std::uint64_t> losses_by_window;
};

inline constexpr Duration kDoctorWindow = std::chrono::minutes(1);
inline constexpr Duration kDoctorObservedMax = std::chrono::hours(1);

// Sorts the log's losses into windows that end at `now` and begin at `since`, or kObservedMax
// before `now`. At least one window.
std::vector<std::uint64_t> LossesByWindow(std::span<const pool::Event> events, WallMillis since,
                                          WallMillis now);

struct Prediction {
  double observed_hours = 0;
  std::uint64_t instances_lost = 0;
  std::uint64_t worst_window = 0;    // instances lost in it
  double loss_per_window = 0;        // of one object
  double availability_per_hour = 1;  // of one object
};
Prediction Predict(const DoctorView& view);

// One finding for people: what is wrong, and what to do. "error" if data is lost or gone with the
// next node, "warning" otherwise.
struct Finding {
  std::string severity;
  std::string text;
};
std::vector<Finding> Findings(const DoctorView& view);

}  // namespace infinicache::admin
