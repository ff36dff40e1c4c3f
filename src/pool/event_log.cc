#include "pool/event_log.h"

#include <algorithm>

namespace infinicache::pool {

std::string_view EventKindName(EventKind kind) {
  switch (kind) {
    case EventKind::kInstanceStarted:
      return "instance_started";
    case EventKind::kInstanceReclaimed:
      return "instance_reclaimed";
    case EventKind::kInstanceEnded:
      return "instance_ended";
    case EventKind::kInvocationFailed:
      return "invocation_failed";
  }
  return "unknown";
}

void EventLog::Add(WallMillis at, EventKind kind, NodeId node, InstanceId instance,
                   std::string_view detail) {
  if (events_.size() == kEventsMax) events_.pop_front();
  events_.push_back(
      {++last_id_, at, kind, node, instance, std::string(detail.substr(0, kDetailBytesMax))});
}

std::vector<Event> EventLog::After(std::uint64_t after, std::size_t limit) const {
  if (after >= last_id_) return {};
  const std::uint64_t dropped = last_id_ - events_.size();
  const std::size_t first = after > dropped ? after - dropped : 0;
  const std::size_t count = std::min(limit, events_.size() - first);
  const auto begin = events_.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(count)};
}

}  // namespace infinicache::pool
