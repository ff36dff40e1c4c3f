// The admin interface's JSON (admin/json.h) as text for people.
//
// Lenient: a field that is missing or of another type counts as 0 or is left out, so that a newer
// or an older server can be asked. Thread-safety: pure.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <string>

#include "base/clock.h"

namespace infinicache::app {

// Of /api/v1/status.
std::string StatusText(const boost::json::value& status);
// True unless the server says that all of its nodes are active.
bool IsDegraded(const boost::json::value& status);

// Of /api/v1/nodes: a table, and a line that sums it up.
std::string NodesText(const boost::json::value& nodes);
bool AllNodesServe(const boost::json::value& nodes);

// Of /api/v1/objects/{key}, at the time `now`.
std::string ObjectText(const boost::json::value& object, WallMillis now);

// Of /api/v1/doctor: objects by what they can still lose, the prediction, and the findings.
std::string DoctorText(const boost::json::value& doctor);
bool HasFindings(const boost::json::value& doctor);
bool HasUnreadable(const boost::json::value& doctor);

// One event of /api/v1/events: "2026-11-25T08:30:00.125Z  instance_reclaimed  node 3  00ab…  why".
std::string EventText(const boost::json::value& event);
std::uint64_t EventNumber(const boost::json::value& event);

}  // namespace infinicache::app
