// The cost meter: adds up what a pool of functions uses, and tells what that costs.
//
// A meter counts; money enters only with the report, so that one meter can be read at several
// prices that round alike. Its sums are integers of 128 bits (bytes, nanoseconds, thousandths of a
// vCPU), hence exact and independent of the order of events: meters of several loops merge to the
// meter of all their events. They hold 4096 nodes of 16 TiB that never sleep for 10 years (below
// 2^115 byte-nanoseconds); an overflow is a CHECK, never a wrong bill.
//
// The model is that of InfiniCache (FAST 2020, section 4), C = C_serving + C_warm-up + C_backup,
// with
//   C_x = sessions_x * fee + sessions_x * round_up(t_x, quantum) * memory * dollars_per_gb_second
// and with these additions: any quantum, a minimum, CPU by the second, cold starts (their start-up
// is billed with the session), repair as a cause of its own, and prices by instance hour.
//
// Pure: no clock, time comes with the events. Not thread-safe: one meter per event loop. Every
// operation is O(1) and allocates nothing, but for the report.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "policy/prices.h"

namespace infinicache::policy {

// Why a session was started.
enum class Cause : std::uint8_t { kServing, kWarmUp, kBackup, kRepair };
inline constexpr std::size_t kCauseCount = 4;
inline constexpr std::array<Cause, kCauseCount> kCauses = {Cause::kServing, Cause::kWarmUp,
                                                           Cause::kBackup, Cause::kRepair};

// "serving", "warm_up", "backup", "repair": for labels and JSON.
std::string_view CauseName(Cause cause);

// What a node is given, and billed for.
struct NodeSize {
  std::uint64_t memory_bytes = 0;  // at most 16 TiB
  std::uint32_t milli_vcpus = 0;   // thousandths of a vCPU
};

// One invocation of an instance that has ended.
struct Session {
  Cause cause = Cause::kServing;
  Duration duration{0};  // from its start to its return, without `init`
  NodeSize size;
  bool cold = false;  // it started the instance
  Duration init{0};   // a cold start's time before the session; billed with it, then rounded
};

// Sums over sessions.
struct SessionSums {
  using Wide = unsigned __int128;

  std::uint64_t sessions = 0;
  std::uint64_t cold_starts = 0;
  Wide awake_ns = 0;             // init + duration as they were
  Wide billed_ns = 0;            // the same, rounded
  Wide billed_byte_ns = 0;       // memory * billed time
  Wide billed_milli_cpu_ns = 0;  // CPU * billed time

  void Add(const SessionSums& other);
  friend bool operator==(const SessionSums&, const SessionSums&) = default;
};

struct CauseCost {
  std::uint64_t sessions = 0;
  std::uint64_t cold_starts = 0;
  double billed_seconds = 0;
  double gb_seconds = 0;
  double vcpu_seconds = 0;
  double dollars = 0;
  double dollars_per_hour = 0;
};

// What something else would have cost for the same memory and time.
struct CostBeside {
  std::string name;  // of its price
  double dollars = 0;
  double dollars_per_hour = 0;
  std::optional<double> ratio;  // to the pool's dollars: above 1, the pool is cheaper
};

// Figures are absent where they would be a division by 0.
struct CostReport {
  double hours = 0;
  std::array<CauseCost, kCauseCount> causes;  // by Cause
  double standing_dollars = 0;                // of what is billed by the hour, whatever it does
  double standing_gb_hours = 0;               // that these dollars are for; the pool's if there are
  double standing_vcpu_hours = 0;             // none
  double dollars = 0;                         // causes + standing
  double dollars_per_hour = 0;
  double cache_gb_hours = 0;    // memory of the pool * time
  double cache_vcpu_hours = 0;  // its CPU * time
  std::uint64_t requests = 0;   // of clients
  std::optional<double> dollars_per_gb_hour;
  std::optional<double> dollars_per_million_requests;
  std::optional<double> duty_cycle;  // awake time / (nodes * elapsed); two instances may exceed 1
  std::optional<CostBeside> provisioned;
  std::optional<CostBeside> storage;

  const CauseCost& of(Cause cause) const { return causes.at(static_cast<std::size_t>(cause)); }
};

class Meter {
 public:
  explicit Meter(BillingRule billing) : billing_(billing) {}

  // Counts `count` sessions that are alike.
  // REQUIRES: durations of 0 to 10 years; init == 0 unless the session is cold.
  void Add(const Session& session, std::uint64_t count = 1);

  // Counts that `nodes` nodes of `size` were in the pool for `elapsed`, asleep or awake, and that
  // their instances lived for `lived` in sum; none: one of each node, all the time. What is billed
  // by the hour is what lives, since a pod that is gone reserves nothing; of whole machines it is
  // the pool, since those stay rented. REQUIRES: no negative time.
  void AddPoolTime(std::uint64_t nodes, const NodeSize& size, Duration elapsed,
                   std::optional<Duration> lived = std::nullopt);

  // Counts requests of clients, for the price of a million.
  void AddRequests(std::uint64_t count);

  // As if the events of `other` had been this meter's. REQUIRES: the same billing rule.
  void Merge(const Meter& other);

  const SessionSums& sums(Cause cause) const { return sums_.at(static_cast<std::size_t>(cause)); }
  SessionSums Total() const;
  std::uint64_t requests() const { return requests_; }
  const BillingRule& billing() const { return billing_; }

  // What was counted costs at `price`, over the `elapsed` time that the rates per hour are for;
  // beside it the same memory as instance hours and as storage, unless nullptr.
  // REQUIRES: price.Billing() == billing() unless `price` does not bill sessions; `price` bills
  // functions or instance hours, `provisioned` instance hours, `storage` storage.
  CostReport Report(const Price& price, Duration elapsed, const Price* provisioned,
                    const Price* storage) const;

  friend bool operator==(const Meter&, const Meter&) = default;

 private:
  using Wide = SessionSums::Wide;

  // What a pool of nodes that all live has.
  StandingHours WholePool(double hours) const;
  // What `price` bills by the hour.
  StandingHours Standing(const Price& price, double hours) const;

  BillingRule billing_;
  std::array<SessionSums, kCauseCount> sums_{};
  Wide pool_ns_ = 0;            // nodes * time
  Wide pool_byte_ns_ = 0;       // their memory * time
  Wide pool_milli_cpu_ns_ = 0;  // their CPU * time
  Wide lived_byte_ns_ = 0;      // the same of instances
  Wide lived_milli_cpu_ns_ = 0;
  std::uint64_t requests_ = 0;
};

}  // namespace infinicache::policy
