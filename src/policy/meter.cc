#include "policy/meter.h"

#include "base/bytes.h"
#include "base/check.h"

namespace infinicache::policy {
namespace {

using Wide = SessionSums::Wide;

constexpr std::uint64_t kMemoryMax = 16 * 1024 * kGiB;
constexpr double kNsPerSecond = 1e9;
constexpr double kSecondsPerHour = 3600;
constexpr double kMilli = 1000;
constexpr double kMillion = 1e6;

template <typename T>
void AddTo(T& sum, T value) {
  CHECK(!__builtin_add_overflow(sum, value, &sum), "a sum of the meter overflows");
}

Wide Product(Wide a, Wide b) {
  CHECK(b == 0 || a <= ~Wide{0} / b, "a product of the meter overflows");
  return a * b;
}

Wide Ns(Duration duration) {
  CHECK(duration.count() >= 0, "{} ns", duration.count());
  return static_cast<Wide>(duration.count());
}

double Seconds(Wide ns) {
  return static_cast<double>(ns) / kNsPerSecond;
}

double Hours(Wide ns) {
  return Seconds(ns) / kSecondsPerHour;
}

double GbSeconds(Wide byte_ns) {
  return Seconds(byte_ns) / static_cast<double>(kGiB);
}

std::optional<double> Quotient(double dividend, double divisor) {
  if (divisor == 0) return std::nullopt;
  return dividend / divisor;
}

double PerHour(double dollars, double hours) {
  return Quotient(dollars, hours).value_or(0);
}

double VcpuSeconds(Wide milli_cpu_ns) {
  return Seconds(milli_cpu_ns) / kMilli;
}

double SessionDollars(const FunctionPrice& price, const SessionSums& sums) {
  return static_cast<double>(sums.sessions) * price.request_dollars_per_million / kMillion +
         GbSeconds(sums.billed_byte_ns) * price.dollars_per_gb_second +
         VcpuSeconds(sums.billed_milli_cpu_ns) * price.dollars_per_vcpu_second;
}

CauseCost CostOf(const Price& price, const SessionSums& sums, double hours) {
  const FunctionPrice* function = price.function();
  CauseCost cost;
  cost.sessions = sums.sessions;
  cost.cold_starts = sums.cold_starts;
  cost.billed_seconds = Seconds(sums.billed_ns);
  cost.gb_seconds = GbSeconds(sums.billed_byte_ns);
  cost.vcpu_seconds = VcpuSeconds(sums.billed_milli_cpu_ns);
  cost.dollars = function == nullptr ? 0 : SessionDollars(*function, sums);
  cost.dollars_per_hour = PerHour(cost.dollars, hours);
  return cost;
}

CostBeside Beside(const Price& price, double dollars, const CostReport& report) {
  return {price.name, dollars, PerHour(dollars, report.hours), Quotient(dollars, report.dollars)};
}

}  // namespace

std::string_view CauseName(Cause cause) {
  static constexpr std::array<std::string_view, kCauseCount> kNames = {"serving", "warm_up",
                                                                       "backup", "repair"};
  return kNames.at(static_cast<std::size_t>(cause));
}

void SessionSums::Add(const SessionSums& other) {
  AddTo(sessions, other.sessions);
  AddTo(cold_starts, other.cold_starts);
  AddTo(awake_ns, other.awake_ns);
  AddTo(billed_ns, other.billed_ns);
  AddTo(billed_byte_ns, other.billed_byte_ns);
  AddTo(billed_milli_cpu_ns, other.billed_milli_cpu_ns);
}

void Meter::Add(const Session& session, std::uint64_t count) {
  CHECK(session.cold || session.init.count() == 0, "a warm session has no init");
  CHECK(session.size.memory_bytes <= kMemoryMax, "{} bytes", session.size.memory_bytes);
  const Duration awake = session.duration + session.init;
  const Wide billed = Product(Ns(BilledDuration(awake, billing_)), count);
  SessionSums added;
  added.sessions = count;
  added.cold_starts = session.cold ? count : 0;
  added.awake_ns = Product(Ns(awake), count);
  added.billed_ns = billed;
  added.billed_byte_ns = Product(billed, session.size.memory_bytes);
  added.billed_milli_cpu_ns = Product(billed, session.size.milli_vcpus);
  sums_.at(static_cast<std::size_t>(session.cause)).Add(added);
}

void Meter::AddPoolTime(std::uint64_t nodes, const NodeSize& size, Duration elapsed,
                        std::optional<Duration> lived) {
  CHECK(size.memory_bytes <= kMemoryMax, "{} bytes", size.memory_bytes);
  const Wide time = Product(Ns(elapsed), nodes);
  AddTo(pool_ns_, time);
  AddTo(pool_byte_ns_, Product(time, size.memory_bytes));
  AddTo(pool_milli_cpu_ns_, Product(time, size.milli_vcpus));
  const Wide living = lived ? Ns(*lived) : time;
  AddTo(lived_byte_ns_, Product(living, size.memory_bytes));
  AddTo(lived_milli_cpu_ns_, Product(living, size.milli_vcpus));
}

void Meter::AddRequests(std::uint64_t count) {
  AddTo(requests_, count);
}

void Meter::Merge(const Meter& other) {
  CHECK(billing_ == other.billing_, "meters that round differently");
  for (std::size_t i = 0; i < kCauseCount; ++i) sums_.at(i).Add(other.sums_.at(i));
  AddTo(pool_ns_, other.pool_ns_);
  AddTo(pool_byte_ns_, other.pool_byte_ns_);
  AddTo(pool_milli_cpu_ns_, other.pool_milli_cpu_ns_);
  AddTo(lived_byte_ns_, other.lived_byte_ns_);
  AddTo(lived_milli_cpu_ns_, other.lived_milli_cpu_ns_);
  AddTo(requests_, other.requests_);
}

SessionSums Meter::Total() const {
  SessionSums total;
  for (const SessionSums& sums : sums_) total.Add(sums);
  return total;
}

StandingHours Meter::WholePool(double hours) const {
  return {GbSeconds(pool_byte_ns_) / kSecondsPerHour, Hours(pool_milli_cpu_ns_) / kMilli, hours};
}

StandingHours Meter::Standing(const Price& price, double hours) const {
  const auto* hourly = price.instance_hours();
  if (hourly == nullptr || hourly->whole_machines) return WholePool(hours);
  return {GbSeconds(lived_byte_ns_) / kSecondsPerHour, Hours(lived_milli_cpu_ns_) / kMilli, hours};
}

CostReport Meter::Report(const Price& price, Duration elapsed, const Price* provisioned,
                         const Price* storage) const {
  CHECK(price.storage() == nullptr, "{} runs no nodes", price.name);
  CHECK(price.function() == nullptr || price.Billing() == billing_, "{} rounds differently",
        price.name);
  CostReport report;
  report.hours = Hours(Ns(elapsed));
  for (std::size_t i = 0; i < kCauseCount; ++i) {
    report.causes.at(i) = CostOf(price, sums_.at(i), report.hours);
    report.dollars += report.causes.at(i).dollars;
  }
  const StandingHours standing = Standing(price, report.hours);
  report.standing_gb_hours = standing.gb_hours;
  report.standing_vcpu_hours = standing.vcpu_hours;
  if (const auto* hourly = price.instance_hours()) {
    report.standing_dollars = StandingDollars(*hourly, standing);
    report.dollars += report.standing_dollars;
  }
  report.dollars_per_hour = PerHour(report.dollars, report.hours);
  const StandingHours pool = WholePool(report.hours);
  report.cache_gb_hours = pool.gb_hours;
  report.cache_vcpu_hours = pool.vcpu_hours;
  report.requests = requests_;
  report.dollars_per_gb_hour = Quotient(report.dollars, pool.gb_hours);
  report.dollars_per_million_requests =
      Quotient(report.dollars * kMillion, static_cast<double>(requests_));
  report.duty_cycle =
      Quotient(static_cast<double>(Total().awake_ns), static_cast<double>(pool_ns_));
  if (provisioned != nullptr) {
    const auto* hourly = provisioned->instance_hours();
    CHECK(hourly != nullptr, "{} is not priced by the hour", provisioned->name);
    report.provisioned = Beside(*provisioned, StandingDollars(*hourly, pool), report);
  }
  if (storage != nullptr) {
    const auto* stored = storage->storage();
    CHECK(stored != nullptr, "{} is no storage", storage->name);
    const double dollars =
        pool.gb_hours / kHoursPerMonth * stored->dollars_per_gb_month +
        static_cast<double>(requests_) * stored->read_dollars_per_million / kMillion;
    report.storage = Beside(*storage, dollars, report);
  }
  return report;
}

}  // namespace infinicache::policy
