// When a modelled platform takes instances away: the reclaims that a provider would make.
//
// Models, each over the instances that live at the time:
//   none      never
//   idle      each instance when it has been idle for `interval`
//   max life  each instance when it is `interval` old
//   Poisson   one drawn instance at a time, `count` per `interval` on average over the whole pool;
//             the gaps are exponential. InfiniCache's measurements of AWS Lambda (FAST 2020,
//             section 3) found reclaims per minute that fit this in some months
//   spikes    `count` drawn instances at once, every `interval`: the mass reclaims of the others
//   replay    given nodes at given times after the start
//
// Pure: time is given, randomness comes from a seed. Not thread-safe. Cost: Due and Next are linear
// in the number of living instances.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/random.h"

namespace infinicache::policy {

struct ReclaimEvent {
  Duration at{0};  // after the start
  NodeId node;
  friend bool operator==(const ReclaimEvent&, const ReclaimEvent&) = default;
};

struct ReclaimModel {
  enum class Kind : std::uint8_t { kNone, kIdle, kMaxLife, kPoisson, kSpikes, kReplay };
  Kind kind = Kind::kNone;
  std::uint64_t count = 1;           // kPoisson, kSpikes; > 0
  Duration interval{0};              // all but kNone, kReplay; > 0
  std::vector<ReclaimEvent> replay;  // kReplay; by time
};

class ReclaimSchedule {
 public:
  // An instance, and the node that it is of. A node may have several at a time: each is idle, ages
  // and is drawn for itself.
  struct Taken {
    NodeId node;
    InstanceId instance;
    friend auto operator<=>(const Taken&, const Taken&) = default;
  };

  // Poisson and spikes count from `start`, and so do a replay's times.
  ReclaimSchedule(ReclaimModel model, std::uint64_t seed, TimePoint start);

  void InstanceStarted(Taken instance, TimePoint now) {
    living_[instance] = {now, TimePoint::max()};
  }
  void InstanceEnded(Taken instance) { living_.erase(instance); }
  // A session of the instance ended, or began: it is idle from `now` on, or no longer.
  void InstanceIdle(Taken instance, TimePoint now) { SetIdle(instance, now); }
  void InstanceBusy(Taken instance) { SetIdle(instance, TimePoint::max()); }

  // When Due has to be asked next; TimePoint::max() if nothing is to come. Changes when an instance
  // starts or ends.
  TimePoint Next() const;
  // The instances that are to be reclaimed at `now`, each once. They no longer count as living.
  // What was due while nobody asked is made up for.
  std::vector<Taken> Due(TimePoint now);

 private:
  struct Living {
    TimePoint since;
    TimePoint idle_since = TimePoint::max();  // max: busy
  };

  void SetIdle(Taken instance, TimePoint since);
  // Of kIdle and kMaxLife: when the model takes the instance.
  TimePoint EndOf(const Living& living) const;
  TimePoint FirstEnd() const;
  Duration Gap();
  void TakeDrawn(std::uint64_t count, std::vector<Taken>& due);
  void Take(Taken instance, std::vector<Taken>& due);
  // Of the node that a replay names: the one that started first.
  void TakeOldest(NodeId node, std::vector<Taken>& due);

  const ReclaimModel model_;
  Random random_;
  const TimePoint start_;
  TimePoint next_ = TimePoint::max();  // kPoisson, kSpikes
  std::size_t replayed_ = 0;
  std::map<Taken, Living> living_;
};

}  // namespace infinicache::policy
