#include "policy/estimate.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"

namespace infinicache::policy {
namespace {

constexpr std::uint64_t kRequestsPerHourMax = 1'000'000'000'000;

// Meets the schedule's events in the order of time.
class VirtualPool {
 public:
  VirtualPool(const Workload& workload, const BillingRule& billing)
      : workload_(workload), meter_(billing) {
    CHECK(workload.elapsed.count() >= 0);
    CHECK(workload.requests_per_hour <= kRequestsPerHourMax);
  }

  Meter Run() {
    Duration warm_up = FirstOf(workload_.warm_up_interval);
    Duration backup = FirstOf(workload_.backup_interval);
    while (std::min(warm_up, backup) < workload_.elapsed) {
      Advance(std::min(warm_up, backup));
      if (warm_up == now_) {
        InvokeAll(Cause::kWarmUp, workload_.warm_up_session);
        warm_up += workload_.warm_up_interval;
      }
      if (backup == now_) {
        InvokeAll(Cause::kBackup, workload_.backup_session);
        backup += workload_.backup_interval;
      }
    }
    Advance(workload_.elapsed);
    return meter_;
  }

 private:
  // What never comes is due at the end, where nothing happens any more.
  Duration FirstOf(Duration interval) const {
    CHECK(interval.count() >= 0);
    return interval.count() == 0 ? workload_.elapsed : Duration(0);
  }

  void InvokeAll(Cause cause, Duration session) {
    meter_.Add({cause, session, workload_.size, false, Duration(0)}, workload_.nodes);
  }

  // Requests come evenly; those of a fraction are carried to the next step.
  void Advance(Duration to) {
    meter_.AddPoolTime(workload_.nodes, workload_.size, to - now_);
    now_ = to;
    constexpr auto kHour = static_cast<std::uint64_t>(Duration(std::chrono::hours(1)).count());
    const auto due = static_cast<std::uint64_t>(static_cast<unsigned __int128>(now_.count()) *
                                                workload_.requests_per_hour / kHour);
    const std::uint64_t requests = due - meter_.requests();
    meter_.AddRequests(requests);
    meter_.Add({Cause::kServing, workload_.chunk_session, workload_.size, false, Duration(0)},
               requests * workload_.chunks_per_request);
  }

  const Workload& workload_;
  Meter meter_;
  Duration now_{0};
};

double DollarsPerRequest(const Workload& workload, const Price& price) {
  Meter one(price.Billing());
  one.Add({Cause::kServing, workload.chunk_session, workload.size, false, Duration(0)},
          workload.chunks_per_request);
  return one.Report(price, Duration(0), nullptr, nullptr).dollars;
}

}  // namespace

Meter MeterOf(const Workload& workload, const BillingRule& billing) {
  return VirtualPool(workload, billing).Run();
}

std::optional<double> BreakEvenRequestsPerHour(const Workload& workload, const Price& price,
                                               const Price& provisioned) {
  CHECK(workload.elapsed.count() > 0);
  Workload idle = workload;
  idle.requests_per_hour = 0;
  const CostReport report =
      MeterOf(idle, price.Billing()).Report(price, idle.elapsed, &provisioned, nullptr);
  const double room = report.provisioned->dollars_per_hour - report.dollars_per_hour;
  const double request = DollarsPerRequest(workload, price);
  if (request <= 0 || room < 0) return std::nullopt;
  return room / request;
}

}  // namespace infinicache::policy
