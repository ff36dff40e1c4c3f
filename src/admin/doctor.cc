#include "admin/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "policy/availability.h"

namespace infinicache::admin {
namespace {

constexpr double kAvailabilityGood = 0.999;

std::string Objects(std::uint64_t count) {
  return fmt::format("{} object{}", count, count == 1 ? "" : "s");
}

std::string Nodes(std::uint64_t count) {
  return fmt::format("{} node{}", count, count == 1 ? "" : "s");
}

}  // namespace

Duration DoctorWindow(bool repair, std::optional<Duration> longest_repair) {
  if (!repair) return kDoctorObservedMax;
  return std::clamp(longest_repair.value_or(kDoctorWindowAssumed), kDoctorWindowMin,
                    kDoctorObservedMax);
}

std::vector<std::uint64_t> LossesByWindow(std::span<const pool::Event> events, Duration window,
                                          WallMillis since, WallMillis now) {
  const WallMillis window_ms = window / std::chrono::milliseconds(1);
  const WallMillis observed =
      std::clamp<WallMillis>(now - since, 1, kDoctorObservedMax / std::chrono::milliseconds(1));
  const auto count = static_cast<std::size_t>((observed + window_ms - 1) / window_ms);
  std::vector<std::uint64_t> windows(count);
  for (const pool::Event& event : events) {
    const bool loss = event.kind == pool::EventKind::kInstanceReclaimed ||
                      event.kind == pool::EventKind::kInstanceEnded;
    const WallMillis age = now - event.at;
    if (!loss || age < 0 || age >= static_cast<WallMillis>(count) * window_ms) continue;
    ++windows[count - 1 - static_cast<std::size_t>(age / window_ms)];
  }
  return windows;
}

Prediction Predict(const DoctorView& view) {
  const auto& windows = view.losses_by_window;
  const double window_hours = std::chrono::duration<double, std::ratio<3600>>(view.window).count();
  Prediction prediction;
  prediction.observed_hours = static_cast<double>(windows.size()) * window_hours;
  prediction.instances_lost = std::accumulate(windows.begin(), windows.end(), std::uint64_t{0});
  if (!windows.empty()) prediction.worst_window = *std::max_element(windows.begin(), windows.end());
  prediction.loss_per_window =
      policy::WindowLossProbability(view.nodes, view.code.data, view.code.parity, windows);
  prediction.availability_per_hour =
      policy::Availability(prediction.loss_per_window, 1 / window_hours);
  return prediction;
}

std::vector<Finding> Findings(const DoctorView& view) {
  std::vector<Finding> findings;
  const cache::Risk& risk = view.risk;
  if (risk.lost.objects > 0) {
    findings.push_back({"error", fmt::format("{} cannot be read: too few of their chunks survive. "
                                             "Set them again; more parity in `code` survives more",
                                             Objects(risk.lost.objects))});
  }
  if (view.nodes_active < view.nodes) {
    findings.push_back({"warning", fmt::format("{} of {} nodes have no instance: see `infinicache "
                                               "events` for why",
                                               view.nodes - view.nodes_active, view.nodes)});
  }
  if (risk.by_spare[0].objects > 0 && view.code.parity > 0) {
    findings.push_back({"error", fmt::format("{} will be lost with the next of their nodes: see "
                                             "`infinicache status` for how far repair is",
                                             Objects(risk.by_spare[0].objects))});
  }
  if (view.code.parity == 0) {
    findings.push_back({"warning",
                        "the code has no parity: every lost instance loses objects. "
                        "Set `code`, for example to 10+2"});
  }
  if (risk.incomplete > 0) {
    findings.push_back({"warning", fmt::format("{} lack chunks and wait for repair, or for nodes "
                                               "with room",
                                               Objects(risk.incomplete))});
  }
  if (view.backups_failing > 0) {
    findings.push_back(
        {"warning",
         fmt::format("{} cannot be backed up: `infinicache_backups_total` says why. What "
                     "they have newly stored is lost with their instances",
                     Nodes(view.backups_failing))});
  }
  const Prediction prediction = Predict(view);
  if (prediction.availability_per_hour < kAvailabilityGood) {
    findings.push_back(
        {"warning", fmt::format("if instances go on to be lost as they were, an object survives an "
                                "hour with {:.2f} %: use more parity, or more nodes",
                                prediction.availability_per_hour * 100)});
  }
  return findings;
}

}  // namespace infinicache::admin
