#include "admin/routes.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <utility>

namespace infinicache::admin {
namespace {

constexpr std::array<std::pair<const char*, Endpoint>, 8> kPages = {{
    {"/", Endpoint::kDashboard},
    {"/healthz", Endpoint::kHealth},
    {"/readyz", Endpoint::kReady},
    {"/metrics", Endpoint::kMetrics},
    {"/api/v1/status", Endpoint::kStatus},
    {"/api/v1/nodes", Endpoint::kNodes},
    {"/api/v1/cost", Endpoint::kCost},
    {"/api/v1/events", Endpoint::kEvents},
}};

TEST(FindRoute, PagesAreThereForGetAndHeadOnly) {
  for (const auto& [path, endpoint] : kPages) {
    for (const char* method : {"GET", "HEAD"})
      EXPECT_EQ(FindRoute(method, path, false).endpoint, endpoint) << path;
    for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "get", ""}) {
      const Route route = FindRoute(method, path, false);
      EXPECT_FALSE(route.endpoint) << method << path;
      EXPECT_EQ(route.allow, "GET, HEAD") << method << path;
    }
  }
}

TEST(FindRoute, UnknownPathsAreNowhere) {
  for (const char* path : {"", "//", "/x", "/healthz/", "/healthzz", "/api/v1", "/api/v1/objects",
                           "/api/v1/nodes/1", "/API/v1/status"}) {
    const Route route = FindRoute("GET", path, true);
    EXPECT_FALSE(route.endpoint) << path;
    EXPECT_EQ(route.allow, "") << path;
  }
}

TEST(FindRoute, TheRestOfAnObjectsPathIsItsKeyWhateverIsInIt) {
  for (const std::string& key :
       {std::string("photo"), std::string("a/b/../c"), std::string(), std::string("\0\xff?&", 4)}) {
    const std::string path = "/api/v1/objects/" + key;
    const Route route = FindRoute("GET", path, false);
    EXPECT_EQ(route.endpoint, Endpoint::kObject);
    EXPECT_EQ(route.rest, key);
  }
}

TEST(FindRoute, TestHooksExistOnlyWhereTheyAreOn) {
  constexpr std::string_view kPath = "/api/v1/test/corrupt";
  EXPECT_EQ(FindRoute("POST", kPath, true).endpoint, Endpoint::kCorruptChunk);
  EXPECT_EQ(FindRoute("GET", kPath, true).allow, "POST");
  const Route hidden = FindRoute("POST", kPath, false);
  EXPECT_FALSE(hidden.endpoint);
  EXPECT_EQ(hidden.allow, "");
}

TEST(HttpStatusFor, TellsWhoseFaultItIs) {
  EXPECT_EQ(HttpStatusFor(ErrorCode::kInvalidArgument), 400);
  EXPECT_EQ(HttpStatusFor(ErrorCode::kNotFound), 404);
  EXPECT_EQ(HttpStatusFor(ErrorCode::kUnavailable), 503);
  EXPECT_EQ(HttpStatusFor(ErrorCode::kDeadlineExceeded), 504);
  EXPECT_EQ(HttpStatusFor(ErrorCode::kInternal), 500);
}

}  // namespace
}  // namespace infinicache::admin
