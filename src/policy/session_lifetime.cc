#include "policy/session_lifetime.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"

namespace infinicache::policy {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t kHalfCoreBytes = 896 * kMiB;
constexpr std::uint64_t kCoreBytes = 1792 * kMiB;

// So that a busy session that is waited for does not spin where its extension is 0.
constexpr Duration kRearmMin = milliseconds(1);

}  // namespace

Duration SessionLifetime::SafetyBuffer(std::uint64_t memory_bytes) {
  return memory_bytes < kCoreBytes ? milliseconds(10) : milliseconds(2);
}

Duration SessionLifetime::PreflightWindow(std::uint64_t memory_bytes) {
  return memory_bytes < kHalfCoreBytes ? seconds(10) : seconds(1);
}

SessionLifetime::SessionLifetime(Options options)
    : options_(options),
      idle_stay_(options.idle_cost_per_second, options.invocation_cost, options.idle_max),
      round_trip_(options.round_trip) {
  CHECK(options_.quantum >= Duration(0) && options_.drain >= Duration(0) &&
        options_.preflight_window >= Duration(0));
  CHECK(options_.safety_buffer > Duration(0));
  CHECK(options_.safety_buffer + options_.drain < options_.maximum);
}

TimePoint SessionLifetime::AlignedEnd(TimePoint now, Duration extension) const {
  const Duration wanted = now - started_ + extension;
  const Duration quantum = options_.quantum;
  const auto quanta = (wanted.count() + quantum.count() - 1) / quantum.count();
  return started_ + quanta * quantum - options_.safety_buffer;
}

Duration SessionLifetime::AnnouncedExtension() const {
  if (Aligned()) return std::max(options_.preflight_window, options_.safety_buffer);
  return std::min(std::max(round_trip_.Margin(), idle_stay_.break_even()),
                  options_.preflight_window);
}

Duration SessionLifetime::StayAfterAnswer() const {
  return std::max(idle_stay_.Get(), std::min(round_trip_.Margin(), options_.preflight_window));
}

void SessionLifetime::Extend(TimePoint now, Duration extension) {
  last_extension_ = extension;
  const TimePoint end = Aligned() ? AlignedEnd(now, extension) : now + extension;
  due_ = std::min(std::max(end, promised_), AcceptsUntil());
}

void SessionLifetime::Start(TimePoint started, TimePoint now, Opening opening) {
  CHECK(started <= now);
  running_ = true;
  started_ = started;
  promised_ = started;
  in_flight_ = 0;
  finished_ = 0;
  announced_ = opening == Opening::kRequest;
  if (opening == Opening::kRequest) {
    Extend(now, AnnouncedExtension());
  } else {
    Extend(now, Aligned() ? options_.safety_buffer : Duration(0));
  }
}

bool SessionLifetime::OnPreflight(TimePoint now) {
  if (!Accepts(now)) return false;
  Extend(now, AnnouncedExtension());
  return true;
}

bool SessionLifetime::OnRequestStarted(TimePoint now) {
  if (!Accepts(now)) return false;
  // Requests that overlap have no gap.
  if (in_flight_ == 0 && idle_since_) idle_stay_.Observe(now - *idle_since_);
  ++in_flight_;
  return true;
}

void SessionLifetime::OnRequestFinished(TimePoint now) {
  CHECK(in_flight_ > 0);
  --in_flight_;
  ++finished_;
  idle_since_ = now;
  if (Aligned()) {
    Extend(now, finished_ == 1 ? options_.safety_buffer : options_.quantum);
  } else {
    Extend(now, StayAfterAnswer());
  }
}

void SessionLifetime::OnMoreExpected(TimePoint now) {
  if (!Aligned() && Accepts(now)) Extend(now, std::max(AnnouncedExtension(), StayAfterAnswer()));
}

TimePoint SessionLifetime::Promise(TimePoint now) {
  CHECK(running_);
  // An answer may bring the end forward from the wait for an announced request to the end of its
  // quantum, or the stay after it, never further.
  const TimePoint after_answer =
      Aligned() ? AlignedEnd(now, options_.safety_buffer) : now + StayAfterAnswer();
  const TimePoint until = std::min(due_, after_answer);
  promised_ = std::max(promised_, until);
  return std::max(now, until);
}

SessionLifetime::Verdict SessionLifetime::Check(TimePoint now) {
  CHECK(running_);
  const bool out_of_time = now >= GivesUpAt();
  if (out_of_time || (in_flight_ == 0 && now >= due_)) {
    running_ = false;
    if (announced_ && finished_ == 0 && in_flight_ == 0) round_trip_.OnMissed();
    return {true, now};
  }
  if (now < due_) return {false, due_};
  if (now < AcceptsUntil()) {
    // A nanosecond later, since the end of a quantum that is due now would be due at once again.
    Extend(now + Duration(1), Aligned() ? last_extension_ : std::max(last_extension_, kRearmMin));
  }
  return {false, now < due_ ? due_ : GivesUpAt()};
}

}  // namespace infinicache::policy
