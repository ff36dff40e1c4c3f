#include "pool/event_log.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace infinicache::pool {

std::string_view EventKindName(EventKind kind) {
  switch (kind) {
    case EventKind::kInstanceStarted:
      return "instance_started";
    case EventKind::kInstanceReclaimed:
      return "instance_reclaimed";
    case EventKind::kInstanceEnded:
      return "instance_ended";
    case EventKind::kFailedOver:
      return "instance_failed_over";
    case EventKind::kSecondInstance:
      return "second_instance";
    case EventKind::kInvocationFailed:
      return "invocation_failed";
    case EventKind::kObjectLost:
      return "object_lost";
    case EventKind::kObjectsGone:
      return "objects_gone";
    case EventKind::kRebuildStarted:
      return "rebuild_started";
    case EventKind::kRebuilt:
      return "rebuilt";
  }
  return "unknown";
}

void EventLog::Push(std::deque<Event>& ring, Event event) {
  if (ring.size() == kEventsMax) ring.pop_front();
  ring.push_back(std::move(event));
}

void EventLog::Add(WallMillis at, EventKind kind, NodeId node, InstanceId instance,
                   std::string_view detail) {
  Push(instances_,
       {++last_id_, at, kind, node, instance, std::string(detail.substr(0, kDetailBytesMax))});
}

void EventLog::Add(WallMillis at, EventKind kind, ObjectsGone gone, std::string_view detail) {
  Push(objects_, {++last_id_, at, kind, NodeId(), InstanceId(),
                  std::string(detail.substr(0, kDetailBytesMax)), std::move(gone)});
}

void EventLog::Add(WallMillis at, EventKind kind, std::string_view detail) {
  Push(objects_, {++last_id_, at, kind, NodeId(), InstanceId(),
                  std::string(detail.substr(0, kDetailBytesMax))});
}

std::vector<Event> EventLog::After(std::uint64_t after, std::size_t limit) const {
  const auto by_id = [](const Event& a, const Event& b) { return a.id < b.id; };
  const auto first = [&](const std::deque<Event>& ring) {
    return std::partition_point(ring.begin(), ring.end(),
                                [&](const Event& event) { return event.id <= after; });
  };
  std::vector<Event> events;
  std::merge(first(instances_), instances_.end(), first(objects_), objects_.end(),
             std::back_inserter(events), by_id);
  if (events.size() > limit) events.resize(limit);
  return events;
}

}  // namespace infinicache::pool
