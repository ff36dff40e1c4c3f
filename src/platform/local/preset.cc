#include "platform/local/preset.h"

#include <algorithm>
#include <array>
#include <chrono>

namespace infinicache::platform {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr Traits kAlwaysOn;

// AWS Lambda: no inbound connections, frozen between invocations, no word of an instance's end; a
// session lasts 15 minutes at most; billed by the millisecond since December 2020.
constexpr Traits kLambda = {.inbound = false,
                            .freezes = true,
                            .notifies = false,
                            .standing = false,
                            .tells_ends = false,
                            .billing_quantum = milliseconds(1),
                            .session_max = minutes(15)};

constexpr Traits Lambda2019() {
  Traits traits = kLambda;
  traits.billing_quantum = milliseconds(100);
  return traits;
}

// Knative Serving: pods accept connections and are never frozen; a request, and so a session, lasts
// 10 minutes at most; a pod that is scaled down serves on for 30 s before SIGTERM.
constexpr Traits kKnative = {.inbound = true,
                             .freezes = false,
                             .notifies = true,
                             .standing = false,
                             .tells_ends = true,
                             .billing_quantum = Duration(0),
                             .session_max = minutes(10)};

// Cloud Run, billed by request: CPU only during requests, rounded up to 100 ms; 10 s from SIGTERM.
constexpr Traits kCloudRun = {.inbound = false,
                              .freezes = true,
                              .notifies = true,
                              .standing = false,
                              .tells_ends = false,
                              .billing_quantum = milliseconds(100),
                              .session_max = minutes(60)};

constexpr std::array<Preset, 5> kPresets = {{
    {.name = "always-on", .traits = kAlwaysOn, .price = "knative-gke-autopilot"},
    {.name = "lambda-like",
     .traits = kLambda,
     .cold_start_min = milliseconds(100),
     .cold_start_max = milliseconds(250),
     .price = "lambda-x86",
     .warms_up = true,
     .backs_up = true},
    {.name = "lambda-2019",
     .traits = Lambda2019(),
     .cold_start_min = milliseconds(100),
     .cold_start_max = milliseconds(250),
     .price = "lambda-2019",
     .warms_up = true,
     .backs_up = true},
    {.name = "knative-like",
     .traits = kKnative,
     .cold_start_min = milliseconds(1500),
     .cold_start_max = milliseconds(2500),
     .reclaim_drain = seconds(30),
     .reclaim_grace = seconds(30),
     .idle_worth = seconds(5),
     .milli_vcpus = 250,
     .price = "knative-gke-autopilot",
     .warms_up = true},
    {.name = "cloudrun-like",
     .traits = kCloudRun,
     .cold_start_min = milliseconds(300),
     .cold_start_max = seconds(1),
     .reclaim_grace = seconds(10),
     .milli_vcpus = 1000,
     .price = "cloud-run",
     .warms_up = true,
     .backs_up = true},
}};

}  // namespace

std::span<const Preset> Presets() {
  return kPresets;
}

const Preset* FindPreset(std::string_view name) {
  const auto found = std::find_if(kPresets.begin(), kPresets.end(),
                                  [&](const Preset& preset) { return preset.name == name; });
  return found == kPresets.end() ? nullptr : &*found;
}

}  // namespace infinicache::platform
