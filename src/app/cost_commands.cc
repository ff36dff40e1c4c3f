#include "app/cost_commands.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <chrono>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "app/duration.h"
#include "app/exit_code.h"
#include "app/price_file.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "policy/estimate.h"

namespace infinicache::app {
namespace {

namespace json = boost::json;
using policy::CostReport;
using policy::Price;

constexpr double kHoursMax = 10 * 365 * 24;
constexpr Duration kIntervalMin = std::chrono::seconds(1);
constexpr std::uint64_t kRequestsMax = 1'000'000'000'000;

int Refuse(const std::string& why) {
  fmt::print(stderr, "infinicache: {}\n", why);
  return kExitUsage;
}

Result<policy::PriceTable> Prices(const PriceOptions& options) {
  if (options.file.empty()) return BuiltInPrices();
  PriceFile file = ReadPriceFile(options.file);
  if (file.problems.empty()) return std::move(file.table);
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("{}", fmt::join(file.problems, "\ninfinicache: ")));
}

// The figures of a price, for people.
std::string Terms(const Price& price) {
  if (const auto* f = price.function()) {
    return fmt::format("${}/M requests, ${}/GB-s, ${}/vCPU-s, by {} ms",
                       f->request_dollars_per_million, f->dollars_per_gb_second,
                       f->dollars_per_vcpu_second,
                       std::chrono::duration<double, std::milli>(f->billing.quantum).count());
  }
  if (const auto* h = price.instance_hours()) {
    if (h->dollars_per_machine_hour > 0) {
      return fmt::format("${}/machine-h of {} GB", h->dollars_per_machine_hour, h->machine_gb);
    }
    return fmt::format("${}/GB-h, ${}/vCPU-h", h->dollars_per_gb_hour, h->dollars_per_vcpu_hour);
  }
  return fmt::format("${}/GB-month, ${}/M reads", price.storage()->dollars_per_gb_month,
                     price.storage()->read_dollars_per_million);
}

json::value OrNull(const std::optional<double>& number) {
  return number ? json::value(*number) : json::value(nullptr);
}

Result<Duration> Interval(std::string_view flag, const std::string& text, Duration least) {
  const auto duration = ParseDuration(text);
  if (!duration) {
    return Fail(duration.error().code, fmt::format("{}: {}", flag, duration.error().message));
  }
  const bool never = duration->count() == 0;
  if (never || (*duration >= least && *duration <= std::chrono::hours(24 * 365))) return *duration;
  return Fail(ErrorCode::kInvalidArgument, fmt::format("{}: {} is out of range: 0, or {} to 8760h",
                                                       flag, text, PrintDuration(least)));
}

Status ReadDurations(const EstimateOptions& options, policy::Workload& workload) {
  const struct {
    std::string_view flag;
    const std::string& text;
    Duration least;
    Duration& to;
  } flags[] = {
      {"--warm-up", options.warm_up, kIntervalMin, workload.warm_up_interval},
      {"--warm-up-session", options.warm_up_session, Duration(0), workload.warm_up_session},
      {"--backup", options.backup, kIntervalMin, workload.backup_interval},
      {"--backup-session", options.backup_session, Duration(0), workload.backup_session},
      {"--chunk-session", options.chunk_session, Duration(0), workload.chunk_session}};
  for (const auto& flag : flags) {
    const auto duration = Interval(flag.flag, flag.text, flag.least);
    if (!duration) return tl::make_unexpected(duration.error());
    flag.to = *duration;
  }
  return {};
}

Result<policy::Workload> WorkloadOf(const EstimateOptions& options) {
  const auto wrong = [](std::string_view what) {
    return Fail(ErrorCode::kInvalidArgument, std::string(what));
  };
  const auto memory = ParseByteSize(options.node_memory);
  if (!memory) return wrong(fmt::format("--node-memory: {}", memory.error().message));
  if (*memory == 0 || *memory > 1024 * kGiB) return wrong("--node-memory: 1 byte to 1TiB");
  if (options.nodes == 0 || options.nodes > kNodesMax) return wrong("--nodes: 1 to 4096");
  if (!(options.hours > 0 && options.hours <= kHoursMax))
    return wrong("--hours: above 0, to 87600");
  if (!(options.node_vcpus >= 0 && options.node_vcpus <= 1024))
    return wrong("--node-vcpus: 0 to 1024");
  if (options.requests_per_hour > kRequestsMax) return wrong("--requests-per-hour: to 10^12");
  if (options.chunks > kCodeWidthMax) return wrong("--chunks: 0 to 32");
  policy::Workload workload;
  workload.nodes = options.nodes;
  workload.size = {*memory, static_cast<std::uint32_t>(std::lround(options.node_vcpus * 1000))};
  workload.elapsed = Duration(std::llround(options.hours * 3.6e12));
  workload.requests_per_hour = options.requests_per_hour;
  workload.chunks_per_request = options.chunks;
  if (auto status = ReadDurations(options, workload); !status) {
    return tl::make_unexpected(status.error());
  }
  return workload;
}

void PrintJson(const Price& price, const CostReport& report, std::optional<double> break_even) {
  json::object causes;
  for (const policy::Cause cause : policy::kCauses) {
    const policy::CauseCost& cost = report.of(cause);
    causes[policy::CauseName(cause)] = {{"sessions", cost.sessions},
                                        {"billed_seconds", cost.billed_seconds},
                                        {"gb_seconds", cost.gb_seconds},
                                        {"dollars", cost.dollars},
                                        {"dollars_per_hour", cost.dollars_per_hour}};
  }
  const auto beside = [](const policy::CostBeside& cost) {
    return json::object{{"price", cost.name},
                        {"dollars", cost.dollars},
                        {"dollars_per_hour", cost.dollars_per_hour},
                        {"ratio", OrNull(cost.ratio)}};
  };
  const json::object result = {
      {"price", price.name},
      {"price_date", price.date},
      {"hours", report.hours},
      {"causes", causes},
      {"standing_dollars", report.standing_dollars},
      {"dollars", report.dollars},
      {"dollars_per_hour", report.dollars_per_hour},
      {"dollars_per_gb_hour", OrNull(report.dollars_per_gb_hour)},
      {"dollars_per_million_requests", OrNull(report.dollars_per_million_requests)},
      {"duty_cycle", OrNull(report.duty_cycle)},
      {"provisioned", beside(*report.provisioned)},
      {"storage", beside(*report.storage)},
      {"break_even_requests_per_hour", OrNull(break_even)}};
  fmt::print("{}\n", json::serialize(result));
}

void PrintText(const Price& price, const CostReport& report, std::optional<double> break_even) {
  fmt::print("{} ({}), {:g} hours\n", price.name, price.date, report.hours);
  const auto row = [](std::string_view name, double dollars, double per_hour) {
    fmt::print("  {:26} ${:<12.2f} ${:.4f}/h\n", name, dollars, per_hour);
  };
  for (const policy::Cause cause : policy::kCauses) {
    row(CauseName(cause), report.of(cause).dollars, report.of(cause).dollars_per_hour);
  }
  row("standing", report.standing_dollars, report.standing_dollars / report.hours);
  row("total", report.dollars, report.dollars_per_hour);
  for (const auto* beside : {&*report.provisioned, &*report.storage}) {
    row(beside->name, beside->dollars, beside->dollars_per_hour);
    if (beside->ratio) fmt::print("  {:26} {:.2f} times the pool\n", "", *beside->ratio);
  }
  if (report.dollars_per_gb_hour)
    fmt::print("  per GB-hour ${:.6f}\n", *report.dollars_per_gb_hour);
  if (report.duty_cycle) fmt::print("  duty cycle {:.4f}%\n", *report.duty_cycle * 100);
  if (break_even) fmt::print("  break-even {:.0f} requests/h\n", *break_even);
}

}  // namespace

int ShowPrices(const PriceOptions& options) {
  const auto table = Prices(options);
  if (!table) return Refuse(table.error().message);
  if (options.toml) {
    fmt::print("{}", BuiltInPriceText());
    return kExitOk;
  }
  json::array rows;
  for (const Price& price : table->prices) {
    rows.push_back(json::object{{"name", price.name},
                                {"kind", price.Kind()},
                                {"terms", Terms(price)},
                                {"description", price.description},
                                {"source", price.source},
                                {"date", price.date}});
    if (options.json) continue;
    fmt::print("{:28} {}  {}\n  {}\n  {}\n", price.name, price.date, Terms(price),
               price.description, price.source);
  }
  if (options.json) fmt::print("{}\n", json::serialize(rows));
  return kExitOk;
}

int CostEstimate(const PriceOptions& prices, const EstimateOptions& options) {
  const auto table = Prices(prices);
  if (!table) return Refuse(table.error().message);
  const auto workload = WorkloadOf(options);
  if (!workload) return Refuse(workload.error().message);
  const Price* price = table->Find(options.price);
  const Price* provisioned = table->Find(options.provisioned);
  const Price* storage = table->Find(options.storage);
  constexpr std::string_view kRemedy = "`infinicache prices` lists them";
  if (price == nullptr || price->storage() != nullptr) {
    return Refuse(fmt::format("--price: no price of nodes '{}'; {}", options.price, kRemedy));
  }
  if (provisioned == nullptr || provisioned->instance_hours() == nullptr) {
    return Refuse(fmt::format("--provisioned: no instance_hours price '{}'; {}",
                              options.provisioned, kRemedy));
  }
  if (storage == nullptr || storage->storage() == nullptr) {
    return Refuse(fmt::format("--storage: no storage price '{}'; {}", options.storage, kRemedy));
  }
  const CostReport report =
      MeterOf(*workload, price->Billing()).Report(*price, workload->elapsed, provisioned, storage);
  const auto break_even = BreakEvenRequestsPerHour(*workload, *price, *provisioned);
  prices.json ? PrintJson(*price, report, break_even) : PrintText(*price, report, break_even);
  return kExitOk;
}

}  // namespace infinicache::app
