#include "policy/reclaim_schedule.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "base/check.h"

namespace infinicache::policy {

using Kind = ReclaimModel::Kind;

ReclaimSchedule::ReclaimSchedule(ReclaimModel model, std::uint64_t seed, TimePoint start)
    : model_(std::move(model)), random_(seed), start_(start) {
  const bool timed = model_.kind != Kind::kNone && model_.kind != Kind::kReplay;
  CHECK(!timed || (model_.interval > Duration(0) && model_.count > 0));
  CHECK(std::is_sorted(model_.replay.begin(), model_.replay.end(),
                       [](const auto& a, const auto& b) { return a.at < b.at; }));
  if (model_.kind == Kind::kPoisson || model_.kind == Kind::kSpikes) next_ = start + Gap();
}

// Until the next reclaim (Poisson) or spike. By inversion: -ln(1 - u) is exponential with mean 1.
Duration ReclaimSchedule::Gap() {
  if (model_.kind == Kind::kSpikes) return model_.interval;
  const double mean =
      static_cast<double>(model_.interval.count()) / static_cast<double>(model_.count);
  const double gap = -std::log1p(-random_.Unit()) * mean;
  return std::max(Duration(1), Duration(static_cast<Duration::rep>(gap)));
}

void ReclaimSchedule::SetIdle(Taken instance, TimePoint since) {
  if (const auto found = living_.find(instance); found != living_.end())
    found->second.idle_since = since;
}

TimePoint ReclaimSchedule::EndOf(const Living& living) const {
  const TimePoint since = model_.kind == Kind::kIdle ? living.idle_since : living.since;
  return since == TimePoint::max() ? since : since + model_.interval;
}

TimePoint ReclaimSchedule::FirstEnd() const {
  TimePoint end = TimePoint::max();
  for (const auto& [instance, living] : living_) end = std::min(end, EndOf(living));
  return end;
}

TimePoint ReclaimSchedule::Next() const {
  switch (model_.kind) {
    case Kind::kNone:
      return TimePoint::max();
    case Kind::kIdle:
    case Kind::kMaxLife:
      return FirstEnd();
    case Kind::kPoisson:
    case Kind::kSpikes:
      return next_;
    case Kind::kReplay:
      return replayed_ < model_.replay.size() ? start_ + model_.replay[replayed_].at
                                              : TimePoint::max();
  }
  return TimePoint::max();
}

std::vector<ReclaimSchedule::Taken> ReclaimSchedule::Due(TimePoint now) {
  std::vector<Taken> due;
  while (Next() <= now) {
    switch (model_.kind) {
      case Kind::kNone:
        break;
      case Kind::kIdle:
      case Kind::kMaxLife: {
        const auto first = std::min_element(
            living_.begin(), living_.end(),
            [this](const auto& a, const auto& b) { return EndOf(a.second) < EndOf(b.second); });
        Take(first->first, due);
        break;
      }
      case Kind::kPoisson:
        TakeDrawn(1, due);
        next_ += Gap();
        break;
      case Kind::kSpikes:
        TakeDrawn(model_.count, due);
        next_ += Gap();
        break;
      case Kind::kReplay:
        TakeOldest(model_.replay[replayed_++].node, due);
        break;
    }
  }
  return due;
}

void ReclaimSchedule::TakeDrawn(std::uint64_t count, std::vector<Taken>& due) {
  for (; count > 0 && !living_.empty(); --count) {
    const auto drawn =
        std::next(living_.begin(), static_cast<std::ptrdiff_t>(random_.Below(living_.size())));
    Take(drawn->first, due);
  }
}

void ReclaimSchedule::TakeOldest(NodeId node, std::vector<Taken>& due) {
  const auto oldest =
      std::min_element(living_.begin(), living_.end(), [node](const auto& a, const auto& b) {
        const bool of_node = a.first.node == node;
        return of_node != (b.first.node == node) ? of_node : a.second.since < b.second.since;
      });
  if (oldest != living_.end() && oldest->first.node == node) Take(oldest->first, due);
}

void ReclaimSchedule::Take(Taken instance, std::vector<Taken>& due) {
  if (living_.erase(instance) > 0) due.push_back(instance);
}

}  // namespace infinicache::policy
