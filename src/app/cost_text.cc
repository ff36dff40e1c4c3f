#include "app/cost_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "app/answer_text.h"
#include "app/duration.h"

namespace infinicache::app {
namespace {

namespace json = boost::json;

// Below it an amount is none.
constexpr double kLeastDollars = 1e-9;
constexpr int kDigits = 3;
constexpr int kDecimalsMin = 2;
constexpr int kDecimalsMax = 11;

Duration Seconds(double seconds) {
  return std::chrono::seconds(std::llround(seconds));
}

bool IsNumber(const json::value& value, std::string_view pointer) {
  const json::value* found = Find(value, pointer);
  return found != nullptr && found->is_number();
}

std::string Line(std::string_view name, const std::string& text) {
  return fmt::format("  {:<12}{}\n", name, text);
}

std::string PerHour(const json::value& cost, const std::string& pointer) {
  return IsNumber(cost, pointer) ? Dollars(Real(cost, pointer)) + "/h" : "-";
}

// "$0.52  $10.37/h  elasticache-r5.24xlarge, 3215 times the pool"
std::string Beside(const json::value& cost, const std::string& pointer) {
  std::string text =
      fmt::format("{:<14}{:<16}{}", Dollars(Real(cost, pointer + "/dollars")),
                  PerHour(cost, pointer + "/dollars_per_hour"), Text(cost, pointer + "/name"));
  if (IsNumber(cost, pointer + "/ratio")) {
    const double ratio = Real(cost, pointer + "/ratio");
    text += ratio >= 100 ? fmt::format(", {:.0f} times the pool", ratio)
                         : fmt::format(", {:.2f} times the pool", ratio);
  }
  return text;
}

std::string Nodes(const json::value& cost) {
  std::string text = fmt::format("{} nodes", Number(cost, "/nodes/total"));
  std::string_view separator = ": ";
  for (const std::string state : {"active", "waking", "starting", "asleep", "down"}) {
    const std::uint64_t count = Number(cost, "/nodes/" + state);
    if (count == 0) continue;
    text += fmt::format("{}{} {}", separator, Grouped(count), state);
    separator = ", ";
  }
  return text;
}

std::string Instances(const json::value& cost) {
  return fmt::format("{} busy, {} idle, {} frozen; {}", Grouped(Number(cost, "/instances/busy")),
                     Grouped(Number(cost, "/instances/idle")),
                     Grouped(Number(cost, "/instances/frozen")), Nodes(cost));
}

std::string Requests(const json::value& cost) {
  std::string text = Grouped(Number(cost, "/requests"));
  if (IsNumber(cost, "/dollars_per_million_requests"))
    text += fmt::format(", {} a million", Dollars(Real(cost, "/dollars_per_million_requests")));
  return text;
}

std::string WarmUp(const json::value& cost) {
  if (!IsNumber(cost, "/warm_up_interval_seconds")) return "off";
  return fmt::format("what has been idle for {}",
                     DescribeDuration(Seconds(Real(cost, "/warm_up_interval_seconds"))));
}

std::vector<std::string> Row(std::string_view name, const json::value& sums) {
  return {std::string(name),
          Grouped(Number(sums, "/sessions")),
          Grouped(Number(sums, "/cold_starts")),
          fmt::format("{:.3f}", Real(sums, "/billed_seconds")),
          fmt::format("{:.3f}", Real(sums, "/gb_seconds")),
          Dollars(Real(sums, "/dollars")),
          PerHour(sums, "/dollars_per_hour")};
}

std::string Causes(const json::value& cost) {
  std::vector<std::vector<std::string>> rows = {
      {"CAUSE", "SESSIONS", "COLD", "BILLED S", "GB-S", "DOLLARS", "PER HOUR"}};
  const json::value* causes = Find(cost, "/causes");
  if (causes != nullptr && causes->is_object())
    for (const auto& [name, sums] : causes->get_object())
      rows.push_back(Row({name.data(), name.size()}, sums));
  if (Real(cost, "/standing/dollars") > 0) {
    rows.push_back({"standing", "-", "-", "-", "-", Dollars(Real(cost, "/standing/dollars")),
                    PerHour(cost, "/standing/dollars_per_hour")});
  }
  rows.push_back(Row("total", cost));
  return Table(rows, {1, 2, 3, 4, 5, 6});
}

}  // namespace

std::string Dollars(double dollars) {
  if (!(std::abs(dollars) >= kLeastDollars)) return "$0";
  const int magnitude = static_cast<int>(std::floor(std::log10(std::abs(dollars))));
  const int decimals = std::clamp(kDigits - 1 - magnitude, kDecimalsMin, kDecimalsMax);
  return fmt::format("${:.{}f}", dollars, decimals);
}

std::string CostText(const json::value& cost) {
  std::string text = fmt::format("{}, billed as {} ({}), for {}\n", Text(cost, "/preset"),
                                 Text(cost, "/price/name"), Text(cost, "/price/date"),
                                 DescribeDuration(Seconds(Real(cost, "/hours") * 3600)));
  text += Line("pool", fmt::format("{:<14}{}", Dollars(Real(cost, "/dollars")),
                                   PerHour(cost, "/dollars_per_hour")));
  for (const std::string name : {"provisioned", "storage"})
    if (IsNumber(cost, "/" + name + "/dollars")) text += Line(name, Beside(cost, "/" + name));
  if (IsNumber(cost, "/duty_cycle"))
    text += Line("duty cycle", fmt::format("{:.4g} %", Real(cost, "/duty_cycle") * 100));
  text += Line("instances", Instances(cost)) + Line("warm-up", WarmUp(cost)) +
          Line("requests", Requests(cost));
  return text + "\n" + Causes(cost);
}

}  // namespace infinicache::app
