// What happened in the pool lately, for operators: a ring of the last kEventsMax events.
//
// Events have consecutive numbers from 1 on, so that a follower asks for what came after the last
// one that it saw, and notices when some have been dropped meanwhile.
//
// Thread-safety: none; the control loop. Cost: O(1) to add; memory is bounded by the ring and by
// kDetailBytesMax for each event.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace infinicache::pool {

enum class EventKind : std::uint8_t {
  kInstanceStarted,
  kInstanceReclaimed,  // the platform took it away
  kInstanceEnded,      // it ended otherwise
  kInvocationFailed,   // no instance came of an invocation
};
// "instance_started" and so on: part of the admin API.
std::string_view EventKindName(EventKind kind);

struct Event {
  std::uint64_t id = 0;
  WallMillis at = 0;  // milliseconds since 1970
  EventKind kind = EventKind::kInstanceStarted;
  NodeId node;
  InstanceId instance;  // 0: none
  std::string detail;   // for people: why
};

class EventLog {
 public:
  static constexpr std::size_t kEventsMax = 4096;
  static constexpr std::size_t kDetailBytesMax = 256;

  void Add(WallMillis at, EventKind kind, NodeId node, InstanceId instance,
           std::string_view detail);
  // The first `limit` of the kept events whose number is above `after`, in order.
  std::vector<Event> After(std::uint64_t after, std::size_t limit) const;
  // The number of the newest event; 0 if there was none.
  std::uint64_t last_id() const { return last_id_; }

 private:
  std::deque<Event> events_;
  std::uint64_t last_id_ = 0;
};

}  // namespace infinicache::pool
