// What the local platform's functions are like: named sets of properties that stand for the
// platforms of others. Figures and their sources: docs/platforms.md.
//
// Thread-safety: constant data.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "platform/platform.h"

namespace infinicache::platform {

struct Preset {
  std::string_view name;
  Traits traits;  // but for node_memory_bytes and same_host
  Duration cold_start_min{0};
  Duration cold_start_max{0};
  Duration reclaim_drain{0};
  Duration reclaim_grace{0};
  // Idle time that is worth another invocation where neither has a price: what the next request's
  // wait for the node is worth.
  Duration idle_worth{0};
  std::uint32_t milli_vcpus = 0;  // of a node, for prices that count CPU
  std::string_view price;         // what its sessions are billed by, in the price table
  bool warms_up = false;          // idle nodes are worth keeping warm
  bool backs_up = false;          // instances end without notice: their data is worth a copy
};

// "always-on" is the first.
std::span<const Preset> Presets();
// Null if there is none of that name.
const Preset* FindPreset(std::string_view name);

}  // namespace infinicache::platform
