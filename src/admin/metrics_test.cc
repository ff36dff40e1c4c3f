#include "admin/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace infinicache::admin {
namespace {

using testing::HasSubstr;
using testing::Not;

class MetricsTest : public testing::Test {
 protected:
  std::string Render() const {
    return RenderMetrics({.version = "1.2.3",
                          .platform = "local",
                          .code = {4, 2},
                          .started_at = 1'700'000'000'500,
                          .memory_rss_bytes = 8192,
                          .nodes_active = 1,
                          .nodes = nodes_,
                          .objects = 7,
                          .cost = CostView{.terms = terms_,
                                           .report = ReportCost(meter_, kDay, terms_),
                                           .instances = {3, 2, 1},
                                           .warm_up_interval = warm_up_},
                          .loops = {{.loop = 0, .budget_used_bytes = 5, .budget_limit_bytes = 9}},
                          .cache = cache_,
                          .pool = pool_,
                          .proxy = proxy_,
                          .commands = commands_});
  }

  // Gives every counter of a struct of counters a value of its own, and returns the values.
  template <typename Stats>
  static std::set<std::uint64_t> Number(Stats& stats, std::uint64_t first) {
    static_assert(sizeof(Stats) % sizeof(Counter) == 0);
    std::set<std::uint64_t> values;
    auto* counters = reinterpret_cast<Counter*>(&stats);
    for (std::size_t i = 0; i < sizeof(Stats) / sizeof(Counter); ++i) {
      counters[i] = first + i;
      values.insert(first + i);
    }
    return values;
  }

  static constexpr Duration kDay = std::chrono::hours(24);

  // As prices of the table, of round figures.
  CostTerms terms_{
      "preset",
      {"functions", "", "", "", policy::FunctionPrice{1'000'000, 2, 0, {Duration(1), {}}}},
      policy::Price{"machines", "", "", "", policy::InstanceHoursPrice{3, 0, 0, 0, 0, false}},
      std::nullopt};
  policy::Meter meter_{policy::BillingRule{}};
  std::optional<Duration> warm_up_;
  cache::CacheStats cache_;
  pool::PoolStats pool_;
  proxy::ProxyStats proxy_;
  std::vector<proxy::CommandStats> commands_ = std::vector<proxy::CommandStats>(2);
  std::vector<pool::NodeView> nodes_;
};

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST_F(MetricsTest, ALatencyHistogramBecomesCumulativeBuckets) {
  commands_[0].name = "get";
  commands_[0].latency.Observe(5e-6);
  commands_[0].latency.Observe(0.5);
  commands_[0].latency.Observe(0.5);
  commands_[0].latency.Observe(1000);
  const std::string text = Render();
  for (const char* line :
       {"1e-05\"} 1\n", "2.2e-05\"} 1\n", "0.47\"} 1\n", "1\"} 3\n", "100\"} 3\n", "+Inf\"} 4\n"}) {
    EXPECT_THAT(text, HasSubstr("_bucket{command=\"get\",le=\"" + std::string(line)));
  }
  EXPECT_THAT(text, HasSubstr("_duration_seconds_count{command=\"get\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("_duration_seconds_sum{command=\"get\"} 1001.000005\n"));
  std::size_t buckets = 0;
  for (const std::string& line : Lines(text)) {
    buckets += line.starts_with("infinicache_command_duration_seconds_bucket{") ? 1 : 0;
  }
  EXPECT_EQ(buckets, LatencyHistogram::kBounds + 1);
}

TEST_F(MetricsTest, ACommandThatWasNeverCalledHasCountersButNoHistogram) {
  commands_[0].name = "get";
  commands_[1].name = "set";
  commands_[0].latency.Observe(1);
  const std::string text = Render();
  EXPECT_THAT(text, HasSubstr("infinicache_commands_total{command=\"set\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("infinicache_commands_failed_total{command=\"set\"} 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("bucket{command=\"set\"")));
}

TEST_F(MetricsTest, EveryCounterIsExposed) {
  std::set<std::uint64_t> missing = Number(cache_, 100'001);
  missing.merge(Number(pool_, 200'001));
  missing.merge(Number(proxy_, 300'001));
  for (const std::string& line : Lines(Render())) {
    if (!line.starts_with('#')) missing.erase(std::strtoull(&line[line.rfind(' ')], nullptr, 10));
  }
  EXPECT_THAT(missing, testing::IsEmpty()) << "counted from the first member of each struct";
}

TEST_F(MetricsTest, NodesAreCountedByStateAndMeasuredOneByOne) {
  nodes_.resize(3);
  for (std::uint32_t i = 0; i < 3; ++i) nodes_[i].id = NodeId(i);
  nodes_[0].state = pool::NodeState::kActive;
  nodes_[0].bytes_used = 11;
  nodes_[0].chunks = 3;
  nodes_[2].bytes_limit = 1U << 30;
  const std::string text = Render();
  EXPECT_THAT(text, HasSubstr("infinicache_nodes{state=\"active\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("infinicache_nodes{state=\"starting\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("infinicache_nodes{state=\"down\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("infinicache_nodes_needed 6\n"));
  EXPECT_THAT(text, HasSubstr("infinicache_node_used_bytes{node=\"0\"} 11\n"));
  EXPECT_THAT(text, HasSubstr("infinicache_node_chunks{node=\"0\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("infinicache_node_limit_bytes{node=\"2\"} 1073741824\n"));
}

TEST_F(MetricsTest, CostIsToldByCauseBesideWhatElseWouldCost) {
  const policy::NodeSize gb{kGiB, 0};
  meter_.Add({policy::Cause::kServing, std::chrono::seconds(2), gb, true, std::chrono::seconds(1)});
  meter_.Add({policy::Cause::kWarmUp, std::chrono::seconds(1), gb, false, Duration(0)}, 4);
  meter_.AddPoolTime(2, gb, kDay);
  warm_up_ = std::chrono::seconds(90);
  const std::string text = Render();
  for (const char* line :
       {"cost_dollars_total{cause=\"serving\"} 7\n", "cost_dollars_total{cause=\"warm_up\"} 12\n",
        "cost_dollars_total{cause=\"backup\"} 0\n", "cost_dollars_total{cause=\"repair\"} 0\n",
        "cost_dollars_total{cause=\"standing\"} 0\n",
        "cost_alternative_dollars_total{kind=\"provisioned\",price=\"machines\"} 144\n",
        "_sessions_total{cause=\"warm_up\"} 4\n", "_cold_starts_total{cause=\"serving\"} 1\n",
        "_billed_seconds_total{cause=\"serving\"} 3\n",
        "_billed_gb_seconds_total{cause=\"warm_up\"} 4\n", "_instances{state=\"busy\"} 3\n",
        "_instances{state=\"idle\"} 2\n", "_instances{state=\"frozen\"} 1\n",
        "_warm_up_interval_seconds 90\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, testing::ContainsRegex("_duty_cycle_ratio 4.05.*e-05\n"));
  EXPECT_THAT(text, Not(HasSubstr("kind=\"storage\""))) << "the table has no such price";
}

TEST_F(MetricsTest, SaysWhatRunsAndSinceWhen) {
  const std::string text = Render();
  EXPECT_THAT(text, HasSubstr("infinicache_build_info{code=\"4+2\",platform=\"local\","
                              "version=\"1.2.3\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("infinicache_process_start_time_seconds 1700000000.5\n"));
  EXPECT_THAT(text, HasSubstr("infinicache_process_resident_memory_bytes 8192\n"));
  EXPECT_THAT(text, HasSubstr("infinicache_buffer_budget_used_bytes{loop=\"0\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("infinicache_buffer_budget_limit_bytes{loop=\"0\"} 9\n"));
}

TEST_F(MetricsTest, EveryLineFollowsTheGrammarAndEveryFamilyHasItsHelp) {
  commands_[0].name = "get";
  commands_[0].latency.Observe(1);
  nodes_.resize(1);
  const std::regex help("# HELP infinicache_[a-z_]+ [A-Z].*\\.");
  const std::regex type("# TYPE (infinicache_[a-z_]+) (counter|gauge|histogram)");
  const std::regex sample(
      R"re((infinicache_[a-z_]+)(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [-+0-9.eInf]+)re");
  std::string family;
  std::string kind;
  std::set<std::string> families;
  std::smatch match;
  for (const std::string& line : Lines(Render())) {
    if (line.starts_with("# HELP")) {
      EXPECT_TRUE(std::regex_match(line, help)) << line;
    } else if (std::regex_match(line, match, type)) {
      family = match[1];
      kind = match[2];
      EXPECT_TRUE(families.insert(family).second) << line;
      EXPECT_EQ(kind == "counter", family.ends_with("_total")) << line;
    } else {
      ASSERT_TRUE(std::regex_match(line, match, sample)) << line;
      EXPECT_TRUE(kind == "histogram" ? match[1].str().starts_with(family) : match[1] == family)
          << line;
    }
  }
  EXPECT_GT(families.size(), 40U);
}

}  // namespace
}  // namespace infinicache::admin
