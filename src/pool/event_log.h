// What happened in the pool lately, for operators: the last kEventsMax events of instances, and as
// many of objects. Each kind has a ring of its own, so that a cache that evicts all day does not
// push out what is known of its instances.
//
// Events have consecutive numbers from 1 on, so that a follower asks for what came after the last
// one that it saw, and notices when some have been dropped meanwhile.
//
// Sessions are no events: they begin and end many times a second, and would push out all else. The
// meter counts them (Pool::Metered).
//
// Thread-safety: none; the control loop. Cost: O(1) to add; memory is bounded by the rings and by
// kDetailBytesMax for each event.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
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
  kFailedOver,         // an instance goes on that is a copy of the one before
  kSecondInstance,     // it is ready while another one of its node lives
  kInvocationFailed,   // no instance came of an invocation
  kObjectLost,         // one object; says which, and with which instances
  kObjectsGone,        // so many objects left by one cause
  kRebuildStarted,     // of the directory, from what nodes hold
  kRebuilt,
};
// "instance_started" and so on: part of the admin API.
std::string_view EventKindName(EventKind kind);
// Whether it is about an instance of a node.
constexpr bool IsOfInstance(EventKind kind) {
  return kind <= EventKind::kInvocationFailed;
}

// What an event of objects tells.
struct ObjectsGone {
  struct Instance {
    NodeId node;
    InstanceId id;
  };
  std::string_view cause;  // of static storage
  std::string key = {};    // of a single object, printable
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;               // as users see them
  std::vector<Instance> instances = {};  // that held the chunks that are gone
};

struct Event {
  std::uint64_t id = 0;
  WallMillis at = 0;  // milliseconds since 1970
  EventKind kind = EventKind::kInstanceStarted;
  NodeId node;          // of an event of instances
  InstanceId instance;  // 0: none
  std::string detail;   // for people: why
  std::optional<ObjectsGone> gone = {};
};

class EventLog {
 public:
  static constexpr std::size_t kEventsMax = 4096;
  static constexpr std::size_t kDetailBytesMax = 256;

  void Add(WallMillis at, EventKind kind, NodeId node, InstanceId instance,
           std::string_view detail);
  void Add(WallMillis at, EventKind kind, ObjectsGone gone, std::string_view detail);
  void Add(WallMillis at, EventKind kind, std::string_view detail);
  // The first `limit` of the kept events whose number is above `after`, in order.
  std::vector<Event> After(std::uint64_t after, std::size_t limit) const;
  // The number of the newest event; 0 if there was none.
  std::uint64_t last_id() const { return last_id_; }

 private:
  static void Push(std::deque<Event>& ring, Event event);

  std::deque<Event> instances_;
  std::deque<Event> objects_;
  std::uint64_t last_id_ = 0;
};

}  // namespace infinicache::pool
