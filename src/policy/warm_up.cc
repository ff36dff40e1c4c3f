#include "policy/warm_up.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace infinicache::policy {
namespace {

Duration Scaled(Duration duration, double factor) {
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double, std::nano>(static_cast<double>(duration.count()) * factor));
}

}  // namespace

WarmUpInterval::WarmUpInterval(Options options)
    : options_(options),
      step_up_(std::pow(kStepDown, options.risk / (1 - options.risk))),
      interval_(options.interval) {
  CHECK(Duration(0) < options_.min && options_.min <= options_.interval &&
        options_.interval <= options_.max);
  CHECK(0 < options_.risk && options_.risk < 0.5);
}

void WarmUpInterval::Scale(double factor) {
  if (!options_.adaptive) return;
  interval_ = std::clamp(Scaled(interval_, factor), options_.min, options_.max);
}

void WarmUpInterval::OnFoundAlive(Duration idle) {
  if (idle >= Scaled(interval_, 1 - kSlack)) Scale(step_up_);
}

void WarmUpInterval::OnFoundReclaimed(Duration idle) {
  if (idle > Duration(0) && idle <= Scaled(interval_, 1 + kSlack)) Scale(1 / kStepDown);
}

void WarmUp::OnSession(TimePoint now, Random& random) {
  restarted_ = std::max(restarted_, now);
  shortened_ = kJitter * random.Unit();
}

std::optional<TimePoint> WarmUp::Next(const WarmUpInterval& interval) const {
  if (!holds_data_) return std::nullopt;
  return restarted_ + Scaled(interval.Get(), 1 - shortened_);
}

}  // namespace infinicache::policy
