#include "admin/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "net/http_server.h"

namespace infinicache::admin {
namespace {

namespace json = boost::json;

// A strict parser: it accepts no invalid UTF-8.
json::value Parse(const std::string& text) {
  json::error_code error;
  json::value value = json::parse(text, error);
  EXPECT_FALSE(error) << text << ": " << error.message();
  return value;
}

cache::ObjectView Object(std::string key) {
  return {.key = std::move(key),
          .bytes = 1000,
          .version = Version((std::uint64_t{1} << 60) + 1),
          .code = {2, 1},
          .strip_bytes = 512,
          .chunks = {{.index = 0, .node = NodeId(4), .alive = true, .bytes = 512},
                     {.index = 1, .node = NodeId(0), .alive = false, .bytes = 488},
                     {.index = 2, .parity = true, .node = NodeId(0), .alive = true, .bytes = 512}}};
}

pool::NodeView Node(std::uint32_t id, pool::NodeState state, std::uint64_t bytes_used = 0,
                    std::uint64_t bytes_limit = 0) {
  pool::NodeView node;
  node.id = NodeId(id);
  node.state = state;
  node.bytes_used = bytes_used;
  node.bytes_limit = bytes_limit;
  return node;
}

TEST(ObjectJson, TellsWhereTheChunksLie) {
  const json::value view = Parse(ObjectJson(Object("photo")));
  const json::value expected = Parse(R"({
    "key": "photo", "key_encoded": "photo", "bytes": 1000, "version": "1152921504606846977",
    "code": "2+1", "strip_bytes": 512, "expires_at_ms": null, "surviving": 2, "needed": 2,
    "chunks": [
      {"index": 0, "kind": "data", "node": 4, "alive": true, "bytes": 512},
      {"index": 1, "kind": "data", "node": null, "alive": false, "bytes": 488},
      {"index": 2, "kind": "parity", "node": 0, "alive": true, "bytes": 512}]})");
  EXPECT_EQ(json::serialize(view), json::serialize(expected));
}

TEST(ObjectJson, TellsTheExpiryIfThereIsOne) {
  cache::ObjectView object = Object("k");
  object.expires_at = 1'700'000'000'123;
  EXPECT_EQ(Parse(ObjectJson(object)).at("expires_at_ms"), 1'700'000'000'123);
}

TEST(ObjectJson, AnyTextIsAKey) {
  for (const std::string& key :
       {std::string(), std::string("a\0b\n\"\\\x7f", 7), std::string("/ä/€/\xF0\x9F\x98\x80"),
        std::string("\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF")}) {
    const json::value view = Parse(ObjectJson(Object(key)));
    EXPECT_EQ(view.at("key").as_string(), json::string_view(key));
    EXPECT_EQ(view.at("key_encoded").as_string(), json::string_view(net::PercentEncode(key)));
  }
}

TEST(ObjectJson, AKeyThatIsNoTextIsGivenEncoded) {
  const std::vector<std::string> keys = {
      "\x80",              // continuation without a lead
      "a\xC3",             // cut short
      "\xE2\x82",          // cut short
      "\xC3(",             // no continuation
      "\xC0\x80",          // overlong
      "\xE0\x80\xAF",      // overlong
      "\xF0\x80\x80\xAF",  // overlong
      "\xED\xA0\x80",      // surrogate
      "\xF4\x90\x80\x80",  // above U+10FFFF
      "\xFF\xFE",          // never a lead
  };
  for (const std::string& key : keys) {
    const json::value view = Parse(ObjectJson(Object(key)));
    EXPECT_TRUE(view.at("key").is_null()) << net::PercentEncode(key);
    const auto target = net::ParseHttpTarget("/" + std::string(view.at("key_encoded").as_string()));
    ASSERT_TRUE(target);
    EXPECT_EQ(target->path, "/" + key);
  }
}

TEST(NodesJson, SaysNullForWhatANodeHasNot) {
  const std::vector<pool::NodeView> nodes = {
      {.id = NodeId(0),
       .state = pool::NodeState::kActive,
       .instance = InstanceId(0xABC),
       .pid = 123,
       .address = "127.0.0.1:4000",
       .bytes_used = 5,
       .bytes_limit = 10,
       .chunks = 1,
       .bytes_lent = 3,
       .backup = pool::BackupView{std::chrono::milliseconds(1500), true, 7, 2}},
      Node(1, pool::NodeState::kStarting),
  };
  const json::value expected = Parse(R"([
    {"id": 0, "state": "active", "instance": "0000000000000abc", "pid": 123,
     "address": "127.0.0.1:4000", "bytes_used": 5, "bytes_lent": 3, "bytes_limit": 10, "chunks": 1,
     "backup": {"age_seconds": 1.5E0, "behind": true, "bytes_behind": 7, "failures": 2}},
    {"id": 1, "state": "starting", "instance": null, "pid": null, "address": null,
     "bytes_used": 0, "bytes_lent": 0, "bytes_limit": 0, "chunks": 0, "backup": null}])");
  EXPECT_EQ(NodesJson(nodes), json::serialize(expected));
  EXPECT_EQ(NodesJson({}), "[]");
}

TEST(StatusJson, SumsUpTheSystem) {
  cache::CacheStats cache;
  pool::PoolStats pool;
  proxy::ProxyStats proxy;
  cache.misses_absent = 1;
  cache.misses_lost = 2;
  cache.misses_unavailable = 4;
  cache.chunks_repaired = 9;
  cache.gone.objects[static_cast<std::size_t>(cache::GoneCause::kReclaimed)] = 1;
  cache.gone.objects[static_cast<std::size_t>(cache::GoneCause::kCorrupt)] = 2;
  cache.bytes_written = ~std::uint64_t{0};
  SystemView view{
      .version = "1.2.3",
      .code = {2, 1},
      .uptime = std::chrono::milliseconds(61'999),
      .nodes_active = 2,
      .nodes = {Node(0, pool::NodeState::kActive, 3, 8), Node(1, pool::NodeState::kActive, 4, 8),
                Node(2, pool::NodeState::kDown)},
      .loops = {{.budget_used_bytes = 1}, {.loop = 1, .budget_used_bytes = 2}},
      .cache = cache,
      .pool = pool,
      .proxy = proxy};
  json::value status = Parse(StatusJson(view));
  EXPECT_EQ(status.at("version"), "1.2.3");
  EXPECT_EQ(status.at("code"), "2+1");
  EXPECT_EQ(status.at("uptime_seconds"), 61);
  EXPECT_EQ(status.at("ready"), false);
  EXPECT_EQ(status.at("nodes"),
            Parse(R"({"total": 3, "active": 2, "asleep": 0, "waking": 0, "starting": 0, "down": 1,
                "serving": 2, "needed": 3})"));
  EXPECT_EQ(status.at("stored_bytes"), 7);
  EXPECT_EQ(status.at("capacity_bytes"), 16);
  EXPECT_EQ(status.at("misses"), 7);
  EXPECT_EQ(status.at("repairs").at("done"), 9);
  EXPECT_EQ(status.at("losses"), 3);
  EXPECT_EQ(status.at("gone").at("corrupt"), Parse(R"({"objects": 2, "bytes": 0})"));
  EXPECT_EQ(status.at("gone").as_object().size(), cache::kGoneCauses);
  EXPECT_EQ(status.at("bytes_written"), ~std::uint64_t{0});
  EXPECT_EQ(status.at("memory").at("budget_used_bytes"), 3);
  view.nodes_active = 3;
  EXPECT_EQ(Parse(StatusJson(view)).at("ready"), true);
}

TEST(EventsJson, TellsOfInstancesAndOfObjects) {
  pool::EventLog log;
  log.Add(5, pool::EventKind::kInstanceEnded, NodeId(3), InstanceId(0xAB), "killed");
  log.Add(6, pool::EventKind::kObjectLost,
          {.cause = "reclaimed",
           .key = "photo",
           .objects = 1,
           .bytes = 9,
           .instances = {{NodeId(3), InstanceId(0xAB)}, {NodeId(4), InstanceId()}}},
          "why");
  log.Add(7, pool::EventKind::kObjectsGone, {.cause = "evicted", .objects = 2, .bytes = 8}, "2");
  const json::value expected = Parse(R"({"events": [
    {"id": 1, "at_ms": 5, "kind": "instance_ended", "node": 3, "instance": "00000000000000ab",
     "detail": "killed"},
    {"id": 2, "at_ms": 6, "kind": "object_lost", "node": null, "instance": null, "detail": "why",
     "cause": "reclaimed", "key": "photo", "objects": 1, "bytes": 9,
     "instances": [{"node": 3, "instance": "00000000000000ab"}, {"node": 4, "instance": null}]},
    {"id": 3, "at_ms": 7, "kind": "objects_gone", "node": null, "instance": null, "detail": "2",
     "cause": "evicted", "key": null, "objects": 2, "bytes": 8, "instances": []}], "last_id": 3})");
  EXPECT_EQ(EventsJson(log.After(0, 10), log.last_id()), json::serialize(expected));
}

TEST(ErrorJson, IsAnObjectWithTheReason) {
  EXPECT_EQ(ErrorJson("say \"no\""), R"({"error":"say \"no\""})");
}

}  // namespace
}  // namespace infinicache::admin
