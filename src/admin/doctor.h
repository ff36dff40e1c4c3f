// What is at risk now, and what is to be expected: the figures behind `infinicache doctor`.
//
// The prediction is that of policy/availability.h on the losses of instances that were observed:
// those of the event log over the last kDoctorObservedMax, by windows as long as repair took at the
// longest: what is lost within one counts as lost at once. It holds for objects of the pool's full
// code, if instances go on to be lost, and repair to be as fast, as they were.
//
// Pure functions on values.
#pragma once

#include <cstdint>
#include <optional>
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
  std::size_t backups_failing = 0;  // nodes with kFailingRounds in a row
  std::uint64_t objects_lost = 0;   // since the start
  // Instances that were lost in each window observed, the oldest first.
  Duration window{0};  // DoctorWindow()
  std::vector<std::uint64_t> losses_by_window;
};

inline constexpr int kFailingRounds = 3;
inline constexpr Duration kDoctorObservedMax = std::chrono::hours(1);
// As long as nothing was repaired: InfiniCache's measure.
inline constexpr Duration kDoctorWindowAssumed = std::chrono::minutes(1);
inline constexpr Duration kDoctorWindowMin = std::chrono::seconds(1);

// The time within which losses count as simultaneous. Without repair they add up all the time.
Duration DoctorWindow(bool repair, std::optional<Duration> longest_repair);

// Sorts the log's losses into windows of `window` that end at `now` and begin at `since`, or
// kDoctorObservedMax before `now`. At least one. REQUIRES: window >= 1 ms.
std::vector<std::uint64_t> LossesByWindow(std::span<const pool::Event> events, Duration window,
                                          WallMillis since, WallMillis now);

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
