#include "admin/routes.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace infinicache::admin {
namespace {

struct Row {
  Endpoint endpoint;
  std::string_view method;
  std::string_view path;
  bool is_prefix = false;
  bool test_only = false;
};

constexpr std::array<Row, 13> kRows = {{
    {Endpoint::kDashboard, "GET", "/"},
    {Endpoint::kHealth, "GET", "/healthz"},
    {Endpoint::kReady, "GET", "/readyz"},
    {Endpoint::kMetrics, "GET", "/metrics"},
    {Endpoint::kStatus, "GET", "/api/v1/status"},
    {Endpoint::kNodes, "GET", "/api/v1/nodes"},
    {Endpoint::kDoctor, "GET", "/api/v1/doctor"},
    {Endpoint::kCost, "GET", "/api/v1/cost"},
    {Endpoint::kEvents, "GET", "/api/v1/events"},
    {.endpoint = Endpoint::kReclaim,
     .method = "POST",
     .path = "/api/v1/test/reclaim",
     .test_only = true},
    {.endpoint = Endpoint::kRepeat,
     .method = "POST",
     .path = "/api/v1/test/repeat",
     .test_only = true},
    {.endpoint = Endpoint::kObject, .method = "GET", .path = "/api/v1/objects/", .is_prefix = true},
    {.endpoint = Endpoint::kCorruptChunk,
     .method = "POST",
     .path = "/api/v1/test/corrupt",
     .test_only = true},
}};

}  // namespace

Route FindRoute(std::string_view method, std::string_view path, bool test_hooks) {
  for (const Row& row : kRows) {
    const bool here = row.is_prefix ? path.starts_with(row.path) : path == row.path;
    if (!here || (row.test_only && !test_hooks)) continue;
    if (method == row.method || (method == "HEAD" && row.method == "GET"))
      return {.endpoint = row.endpoint, .rest = path.substr(row.path.size())};
    return {.endpoint = std::nullopt, .allow = row.method == "GET" ? "GET, HEAD" : row.method};
  }
  return {};
}

Result<std::uint64_t> QueryNumber(const std::map<std::string, std::string>& query,
                                  const std::string& name, std::uint64_t absent,
                                  std::uint64_t max) {
  const auto found = query.find(name);
  if (found == query.end()) return absent;
  const std::string& text = found->second;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size() && value <= max) return value;
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("'{}' must be a whole number from 0 to {}", name, max));
}

int HttpStatusFor(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return 400;
    case ErrorCode::kUnauthenticated:
      return 401;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kAborted:
      return 409;
    case ErrorCode::kTooLarge:
      return 413;
    case ErrorCode::kUnavailable:
    case ErrorCode::kCancelled:
      return 503;
    case ErrorCode::kDeadlineExceeded:
      return 504;
    case ErrorCode::kOutOfMemory:
      return 507;
    case ErrorCode::kCorrupt:
    case ErrorCode::kProtocol:
    case ErrorCode::kInternal:
      return 500;
  }
  return 500;
}

}  // namespace infinicache::admin
