// What the admin endpoints show, gathered at one moment: plain data, so that rendering it needs no
// running system.
//
// The statistics are references to the live counters; figures taken from them one after the other
// may differ by requests in flight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "admin/cost.h"
#include "base/clock.h"
#include "cache/stats.h"
#include "coding/code.h"
#include "pool/node_state.h"
#include "pool/pool.h"
#include "proxy/stats.h"

namespace infinicache::admin {

// The memory of one data loop's requests.
struct LoopMemory {
  std::size_t loop = 0;
  std::uint64_t budget_used_bytes = 0;
  std::uint64_t budget_limit_bytes = 0;
  std::uint64_t buffer_bytes = 0;  // held by its buffer pool, lent out or ready for reuse
};

struct SystemView {
  std::string version = {};
  std::string run_id = {};
  std::string platform = {};
  std::string listen = {};  // address of the RESP front
  coding::Code code = {};
  WallMillis started_at = 0;
  Duration uptime{0};
  std::uint64_t memory_rss_bytes = 0;

  std::size_t nodes_active = 0;
  std::vector<pool::NodeView> nodes = {};
  std::size_t objects = 0;
  std::uint64_t object_bytes = 0;
  std::size_t objects_expiring = 0;
  std::size_t repairs_queued = 0;
  std::uint64_t repair_bytes_queued = 0;
  double repair_bytes_per_second = 0;
  bool loading = false;                     // the directory is being rebuilt
  double rebuilt_share = 1;                 // of the keys
  const LatencyHistogram* wakes = nullptr;  // from invocations to PONGs
  const pool::Backups* backups = nullptr;   // null: off
  std::size_t clients = 0;
  std::optional<CostView> cost = {};
  std::vector<LoopMemory> loops = {};  // those that answered in time

  const cache::CacheStats& cache;
  const pool::PoolStats& pool;
  const proxy::ProxyStats& proxy;
  std::span<const proxy::CommandStats> commands = {};

  // Whether every chunk of a full-width object finds a node of its own.
  bool ready() const { return nodes_active >= code.width(); }
};

}  // namespace infinicache::admin
