// What a request means: the table of the admin API's paths and methods, and numbers in queries.
//
// Pure functions.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace infinicache::admin {

enum class Endpoint : std::uint8_t {
  kDashboard,     // GET  /
  kHealth,        // GET  /healthz
  kReady,         // GET  /readyz
  kMetrics,       // GET  /metrics
  kStatus,        // GET  /api/v1/status
  kNodes,         // GET  /api/v1/nodes
  kDoctor,        // GET  /api/v1/doctor
  kCost,          // GET  /api/v1/cost
  kEvents,        // GET  /api/v1/events?after=…&limit=…&wait_ms=…
  kObject,        // GET  /api/v1/objects/{key}
  kReclaim,       // POST /api/v1/test/reclaim?node=…, only with test hooks
  kRepeat,        // POST /api/v1/test/repeat?node=…, only with test hooks
  kCorruptChunk,  // POST /api/v1/test/corrupt?key=…&chunk=…&byte=…, only with test hooks
};

struct Route {
  std::optional<Endpoint> endpoint;  // empty: answer 405 if `allow` is set, else 404
  std::string_view rest = {};        // the path behind the endpoint's: the key of kObject
  std::string_view allow = {};       // methods of the path, when the request's is not among them
};

// `path` is decoded. HEAD is allowed wherever GET is. Views point into `path`.
Route FindRoute(std::string_view method, std::string_view path, bool test_hooks);

// The whole number `name` of a query, or `absent` if it is not there. Errors: kInvalidArgument,
// naming the parameter.
Result<std::uint64_t> QueryNumber(const std::map<std::string, std::string>& query,
                                  const std::string& name, std::uint64_t absent,
                                  std::uint64_t max = std::numeric_limits<std::uint64_t>::max());

// The HTTP status of a failed operation.
int HttpStatusFor(ErrorCode code);

}  // namespace infinicache::admin
