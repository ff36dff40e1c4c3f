#include "admin/cost.h"

#include <boost/json.hpp>
#include <chrono>
#include <cstddef>
#include <string_view>

namespace infinicache::admin {
namespace {

namespace json = boost::json;
using policy::CauseCost;
using policy::CostReport;

json::value OrNull(const std::optional<double>& number) {
  return number ? json::value(*number) : json::value(nullptr);
}

// The rates are 0 in the report of no time.
json::value Rate(const CostReport& report, double per_hour) {
  return report.hours > 0 ? json::value(per_hour) : json::value(nullptr);
}

double Milliseconds(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

void AddTerms(const policy::FunctionPrice& price, json::object& to) {
  to["request_dollars_per_million"] = price.request_dollars_per_million;
  to["dollars_per_gb_second"] = price.dollars_per_gb_second;
  to["dollars_per_vcpu_second"] = price.dollars_per_vcpu_second;
  to["quantum_ms"] = Milliseconds(price.billing.quantum);
  to["minimum_ms"] = Milliseconds(price.billing.minimum);
}

void AddTerms(const policy::InstanceHoursPrice& price, json::object& to) {
  if (price.dollars_per_machine_hour == 0) {
    to["dollars_per_gb_hour"] = price.dollars_per_gb_hour;
    to["dollars_per_vcpu_hour"] = price.dollars_per_vcpu_hour;
    return;
  }
  to["dollars_per_machine_hour"] = price.dollars_per_machine_hour;
  to["machine_gb"] = price.machine_gb;
  to["machine_vcpus"] = price.machine_vcpus;
  to["whole_machines"] = price.whole_machines;
}

void AddTerms(const policy::StoragePrice& price, json::object& to) {
  to["dollars_per_gb_month"] = price.dollars_per_gb_month;
  to["read_dollars_per_million"] = price.read_dollars_per_million;
}

json::object PriceRow(const policy::Price& price) {
  json::object row = {{"name", price.name},
                      {"kind", price.Kind()},
                      {"description", price.description},
                      {"source", price.source},
                      {"date", price.date}};
  std::visit([&](const auto& terms) { AddTerms(terms, row); }, price.terms);
  return row;
}

void AddSums(const CauseCost& cost, json::object& to) {
  to["sessions"] = cost.sessions;
  to["cold_starts"] = cost.cold_starts;
  to["billed_seconds"] = cost.billed_seconds;
  to["gb_seconds"] = cost.gb_seconds;
  to["vcpu_seconds"] = cost.vcpu_seconds;
}

json::object Causes(const CostReport& report) {
  json::object causes;
  for (const policy::Cause cause : policy::kCauses) {
    const CauseCost& cost = report.of(cause);
    json::object row;
    AddSums(cost, row);
    row["dollars"] = cost.dollars;
    row["dollars_per_hour"] = Rate(report, cost.dollars_per_hour);
    causes[policy::CauseName(cause)] = std::move(row);
  }
  return causes;
}

json::object Standing(const CostReport& report) {
  const double per_hour = report.hours > 0 ? report.standing_dollars / report.hours : 0;
  return {{"dollars", report.standing_dollars},
          {"dollars_per_hour", Rate(report, per_hour)},
          {"gb_hours", report.standing_gb_hours},
          {"vcpu_hours", report.standing_vcpu_hours}};
}

json::value Beside(const CostReport& report, const std::optional<policy::CostBeside>& beside,
                   const std::optional<policy::Price>& price) {
  if (!beside || !price) return nullptr;
  return json::object{{"name", beside->name},
                      {"date", price->date},
                      {"dollars", beside->dollars},
                      {"dollars_per_hour", Rate(report, beside->dollars_per_hour)},
                      {"ratio", OrNull(beside->ratio)}};
}

json::object Nodes(const CostView& view) {
  json::object nodes;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < view.nodes.size(); ++i) {
    nodes[pool::NodeStateName(static_cast<pool::NodeState>(i))] = view.nodes.at(i);
    total += view.nodes.at(i);
  }
  nodes["total"] = total;
  return nodes;
}

const policy::Price* PointerTo(const std::optional<policy::Price>& price) {
  return price ? &*price : nullptr;
}

}  // namespace

CostReport ReportCost(const policy::Meter& meter, Duration elapsed, const CostTerms& terms) {
  return meter.Report(terms.price, elapsed, PointerTo(terms.provisioned), PointerTo(terms.storage));
}

std::array<std::uint64_t, pool::kNodeStates> CountByState(std::span<const pool::NodeView> nodes) {
  std::array<std::uint64_t, pool::kNodeStates> counts{};
  for (const pool::NodeView& node : nodes) ++counts.at(static_cast<std::size_t>(node.state));
  return counts;
}

CauseCost TotalOfCauses(const CostReport& report) {
  CauseCost total;
  for (const CauseCost& cost : report.causes) {
    total.sessions += cost.sessions;
    total.cold_starts += cost.cold_starts;
    total.billed_seconds += cost.billed_seconds;
    total.gb_seconds += cost.gb_seconds;
    total.vcpu_seconds += cost.vcpu_seconds;
    total.dollars += cost.dollars;
    total.dollars_per_hour += cost.dollars_per_hour;
  }
  return total;
}

std::string CostJson(const CostView& view) {
  const CostReport& report = view.report;
  json::object answer;
  answer["preset"] = view.terms.preset;
  answer["price"] = PriceRow(view.terms.price);
  answer["hours"] = report.hours;
  answer["dollars"] = report.dollars;
  answer["dollars_per_hour"] = Rate(report, report.dollars_per_hour);
  answer["standing"] = Standing(report);
  answer["causes"] = Causes(report);
  AddSums(TotalOfCauses(report), answer);
  answer["duty_cycle"] = OrNull(report.duty_cycle);
  answer["requests"] = report.requests;
  answer["dollars_per_million_requests"] = OrNull(report.dollars_per_million_requests);
  answer["dollars_per_gb_hour"] = OrNull(report.dollars_per_gb_hour);
  answer["provisioned"] = Beside(report, report.provisioned, view.terms.provisioned);
  answer["storage"] = Beside(report, report.storage, view.terms.storage);
  answer["instances"] = {{"busy", view.instances.busy},
                         {"idle", view.instances.idle},
                         {"frozen", view.instances.frozen}};
  answer["nodes"] = Nodes(view);
  answer["warm_up_interval_seconds"] = nullptr;
  if (view.warm_up_interval) {
    answer["warm_up_interval_seconds"] =
        std::chrono::duration<double>(*view.warm_up_interval).count();
  }
  return json::serialize(answer);
}

}  // namespace infinicache::admin
