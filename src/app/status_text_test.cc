#include "app/status_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace infinicache::app {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// As admin/json.h has it, cut to what is shown.
json::value HealthyStatus() {
  return json::parse(R"({"version":"1.2.3","listen":"127.0.0.1:6378","platform":"local",
    "ready":true,"code":"10+2","uptime_seconds":200,
    "nodes":{"total":16,"active":16,"starting":0,"down":0,"serving":16,"needed":12},
    "objects":12345,"object_bytes":3221225472,
    "stored_bytes":2147483648,"capacity_bytes":8589934592,"clients":7,
    "hits":981,"misses":19,"misses_absent":16,"misses_lost":2,"misses_unavailable":1,"losses":2,
    "gone":{"reclaimed":{"objects":2,"bytes":9},"corrupt":{"objects":0,"bytes":0},
            "evicted":{"objects":1234,"bytes":0},"expired":{"objects":4,"bytes":0},
            "flushed":{"objects":0,"bytes":0},"torn":{"objects":0,"bytes":0}},
    "degraded_reads":3,"broken_reads":0,"writes":500,"writes_failed":4,"writes_degraded":5,
    "repairs":{"queued":6,"done":24,"failed":1,"bytes":1000},
    "memory_rss_bytes":47185920,
    "memory":{"budget_used_bytes":1048576,"budget_limit_bytes":67108864,"buffer_bytes":0}})");
}

TEST(StatusText, ShowsAHealthyServerOnOneScreen) {
  EXPECT_EQ(StatusText(HealthyStatus()),
            "infinicache 1.2.3 at redis://127.0.0.1:6378: healthy\n"
            "  up        3m 20s, platform local, code 10+2\n"
            "  nodes     16 of 16 active\n"
            "  objects   12,345, 3 GiB\n"
            "  capacity  [#######.......................]   25%  2 GiB of 8 GiB\n"
            "  reads     1,000, 98.1% hits; 3 degraded, 2 lost, 1 unavailable, 0 broken\n"
            "  writes    500; 4 failed, 5 degraded\n"
            "  repairs   24 chunks; 6 queued, 1 failed\n"
            "  losses    2 objects: 2 reclaimed, 0 corrupt; others gone: 1,234 evicted, 4 expired, "
            "0 flushed, 0 torn\n"
            "  clients   7\n"
            "  memory    45 MiB resident; 1 MiB of 64 MiB for requests in flight\n");
  EXPECT_FALSE(IsDegraded(HealthyStatus()));
}

TEST(StatusText, SaysFirstThatNodesAreMissing) {
  json::value status = HealthyStatus();
  status.at("nodes").at("serving") = 14;
  EXPECT_THAT(StatusText(status), HasSubstr(": DEGRADED: 14 of 16 nodes serve\n"));
  EXPECT_TRUE(IsDegraded(status));
}

TEST(StatusText, SaysFirstThatTooFewNodesAreLeft) {
  json::value status = HealthyStatus();
  status.at("nodes").at("serving") = 11;
  status.at("ready") = false;
  EXPECT_THAT(StatusText(status),
              HasSubstr(": NOT READY: 11 of 16 nodes serve, code 10+2 needs 12\n"));
  EXPECT_TRUE(IsDegraded(status));
}

TEST(StatusText, DividesByNothingBeforeTheFirstRead) {
  json::value status = HealthyStatus();
  status.at("hits") = 0;
  status.at("misses") = 0;
  status.at("capacity_bytes") = 0;
  EXPECT_THAT(StatusText(status), HasSubstr("reads     none yet\n"));
  EXPECT_THAT(StatusText(status), HasSubstr("  0%  "));
}

TEST(StatusText, ShowsASpareOfTheBarForTheSmallestFill) {
  json::value status = HealthyStatus();
  status.at("stored_bytes") = 1;
  EXPECT_THAT(StatusText(status), HasSubstr("[#..."));
}

TEST(StatusText, SurvivesAnswersOfAnotherShape) {
  for (const char* text : {"null", "[]", "{}", "3", R"({"nodes":3,"hits":-1,"version":null})",
                           R"({"nodes":{"total":"many"},"ready":"yes"})"}) {
    const json::value value = json::parse(text);
    EXPECT_THAT(StatusText(value), StartsWith("infinicache - at")) << text;
    EXPECT_TRUE(IsDegraded(value)) << text;
    EXPECT_FALSE(AllNodesServe(value)) << text;
    EXPECT_FALSE(NodesText(value).empty()) << text;
    EXPECT_FALSE(ObjectText(value, 0).empty()) << text;
  }
}

TEST(EventText, NamesTheNodeOfAnInstanceAndNoneOfObjects) {
  EXPECT_EQ(EventText(json::parse(R"({"at_ms":5,"kind":"instance_ended","node":3,
                "instance":"00000000000000ab","detail":"killed"})")),
            "1970-01-01T00:00:00.005Z  instance_ended      node 3     00000000000000ab  killed");
  EXPECT_EQ(EventText(json::parse(R"({"at_ms":5,"kind":"objects_gone","node":null,
                "instance":null,"detail":"2 evicted, 8 B"})")),
            "1970-01-01T00:00:00.005Z  objects_gone        2 evicted, 8 B");
}

TEST(NodesText, ShowsOneLinePerNodeAndTheSum) {
  const json::value nodes = json::parse(
      R"([{"id":0,"state":"active","instance":"00ab","pid":77,"address":"127.0.0.1:4000",
           "bytes_used":1048576,"bytes_limit":4194304,"chunks":1200},
          {"id":10,"state":"down","instance":null,"pid":null,"address":null,
           "bytes_used":0,"bytes_limit":4194304,"chunks":0}])");
  EXPECT_EQ(NodesText(nodes),
            "NODE  STATE   PID  ADDRESS         INSTANCE  CHUNKS   USED  LIMIT\n"
            "   0  active   77  127.0.0.1:4000  00ab       1,200  1 MiB  4 MiB\n"
            "  10  down      -  -               -              0    0 B  4 MiB\n"
            "1 of 2 nodes active; [###...........................]   12%  1 MiB of 8 MiB\n");
  EXPECT_FALSE(AllNodesServe(nodes));
  EXPECT_TRUE(AllNodesServe(json::array({nodes.at(0)})));
}

TEST(NodesText, ShowsWhatPeersHaveWhereNodesAreBackedUp) {
  const json::value nodes = json::parse(
      R"([{"id":0,"state":"asleep","backup":{"age_seconds":6.2E1,"behind":false,"bytes_behind":0}},
          {"id":1,"state":"asleep","backup":{"age_seconds":5.0E0,"behind":true,
           "bytes_behind":2097152}},
          {"id":2,"state":"asleep","backup":{"age_seconds":null,"behind":true,"bytes_behind":9}},
          {"id":3,"state":"starting","backup":null}])");
  const std::string text = NodesText(nodes);
  EXPECT_THAT(text, HasSubstr("  current, 1m 2s\n"));
  EXPECT_THAT(text, HasSubstr("  2 MiB behind, 5s\n"));
  EXPECT_THAT(text, HasSubstr("        none yet\n"));
}

json::value Object() {
  return json::parse(R"({"key":"photo","key_encoded":"photo","bytes":1048576,"version":"17",
    "code":"1+1","expires_at_ms":null,"surviving":1,"needed":1,
    "chunks":[{"index":0,"kind":"data","node":3,"alive":true,"bytes":1048576},
              {"index":1,"kind":"parity","node":null,"alive":false,"bytes":1048576}]})");
}

TEST(ObjectText, ShowsEachChunk) {
  EXPECT_EQ(ObjectText(Object(), 0),
            "photo: 1 MiB, code 1+1, version 17, never expires\n"
            "1 of 2 chunks alive, any 1 give it back\n"
            "CHUNK  KIND    NODE  STATE      BYTES\n"
            "    0  data       3  alive  1,048,576\n"
            "    1  parity     -  lost   1,048,576\n");
}

TEST(ObjectText, CountsDownToTheExpiry) {
  json::value object = Object();
  object.at("expires_at_ms") = 90'000;
  EXPECT_THAT(ObjectText(object, 30'000), HasSubstr("expires in 1m 0s"));
  EXPECT_THAT(ObjectText(object, 99'000), HasSubstr("expires in 0ms"));
}

TEST(ObjectText, NeverSendsControlCharactersOfAKeyToTheTerminal) {
  json::value object = Object();
  object.at("key") = "a\x1b[2J";
  object.at("key_encoded") = "a%1B%5B2J";
  EXPECT_THAT(ObjectText(object, 0), StartsWith("a%1B%5B2J: "));
  object.at("key") = nullptr;
  EXPECT_THAT(ObjectText(object, 0), StartsWith("a%1B%5B2J: "));
}

}  // namespace
}  // namespace infinicache::app
