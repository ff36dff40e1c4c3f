#include "proxy/info.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>

#include "base/bytes.h"
#include "base/resident_memory.h"
#include "proxy/command.h"
#include "proxy/redis_version.h"
#include "proxy/server.h"

namespace infinicache::proxy {
namespace {

class Text {
 public:
  template <typename Value>
  Text& Line(std::string_view name, const Value& value) {
    fmt::format_to(std::back_inserter(text_), "{}:{}\r\n", name, value);
    return *this;
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

struct Fill {
  std::uint64_t used = 0;
  std::uint64_t limit = 0;
  std::uint64_t chunks = 0;
};

Fill FillOf(Server& server) {
  Fill fill;
  for (const pool::NodeShared& node : server.pool().shared()) {
    fill.used += node.StoredBytes();
    fill.limit += node.bytes_limit.load(std::memory_order_relaxed);
    fill.chunks += node.chunks.load(std::memory_order_relaxed);
  }
  return fill;
}

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

std::string ServerSection(Server& server) {
  utsname system{};
  uname(&system);
  const auto uptime =
      std::chrono::duration_cast<std::chrono::seconds>(net::EventLoop::Now() - server.started_at())
          .count();
  return Text()
      .Line("redis_version", kRedisVersion)
      .Line("infinicache_version", server.options().version)
      .Line("redis_mode", "standalone")
      .Line("os", fmt::format("{} {} {}", system.sysname, system.release, system.machine))
      .Line("arch_bits", sizeof(void*) * 8)
      .Line("multiplexing_api", "epoll")
      .Line("process_id", getpid())
      .Line("run_id", server.run_id())
      .Line("tcp_port", server.address().port)
      .Line("uptime_in_seconds", uptime)
      .Line("uptime_in_days", uptime / 86400)
      .Line("io_threads_active", server.cache().workers() > 1 ? 1 : 0)
      .Take();
}

std::string ClientsSection(Server& server) {
  return Text()
      .Line("connected_clients", server.clients())
      .Line("maxclients", server.options().max_clients)
      .Line("blocked_clients", 0)
      .Take();
}

std::string MemorySection(Server& server) {
  const Fill fill = FillOf(server);
  const std::uint64_t resident = ResidentBytes();
  return Text()
      .Line("used_memory", fill.used)
      .Line("used_memory_human", FormatByteSize(fill.used))
      .Line("used_memory_rss", resident)
      .Line("used_memory_rss_human", FormatByteSize(resident))
      .Line("used_memory_dataset", fill.used)
      .Line("maxmemory", fill.limit)
      .Line("maxmemory_human", FormatByteSize(fill.limit))
      .Line("maxmemory_policy", policy::EvictionPolicyName(server.cache().options().eviction))
      .Take();
}

std::string PersistenceSection(Server& server) {
  const cache::RebuildProgress& rebuild = server.cache().shared().rebuild;
  Text text;
  text.Line("loading", rebuild.loading() ? 1 : 0);
  if (rebuild.loading())
    text.Line("loading_loaded_perc", fmt::format("{:.2f}", rebuild.share() * 100));
  return text.Line("rdb_bgsave_in_progress", 0).Line("aof_enabled", 0).Take();
}

std::string StatsSection(Server& server) {
  const ProxyStats& proxy = server.stats();
  const cache::CacheStats& cache = server.cache().stats();
  return Text()
      .Line("total_connections_received", Read(proxy.connections_accepted))
      .Line("total_commands_processed", Read(proxy.commands))
      .Line("total_net_input_bytes", Read(proxy.net_input_bytes))
      .Line("total_net_output_bytes", Read(proxy.net_output_bytes))
      .Line("rejected_connections", Read(proxy.connections_rejected))
      .Line("expired_keys", cache.gone.Objects(cache::GoneCause::kExpired))
      .Line("evicted_keys", cache.gone.Objects(cache::GoneCause::kEvicted))
      .Line("keyspace_hits", Read(cache.hits))
      .Line("keyspace_misses",
            Read(cache.misses_absent) + Read(cache.misses_lost) + Read(cache.misses_unavailable))
      .Line("total_error_replies", Read(proxy.error_replies))
      .Take();
}

std::string ReplicationSection(Server& server) {
  return Text()
      .Line("role", "master")
      .Line("connected_slaves", 0)
      .Line("master_replid", server.run_id())
      .Line("master_repl_offset", 0)
      .Take();
}

std::string CpuSection(Server&) {
  rusage self{};
  rusage children{};
  getrusage(RUSAGE_SELF, &self);
  getrusage(RUSAGE_CHILDREN, &children);
  return Text()
      .Line("used_cpu_sys", Seconds(self.ru_stime))
      .Line("used_cpu_user", Seconds(self.ru_utime))
      .Line("used_cpu_sys_children", Seconds(children.ru_stime))
      .Line("used_cpu_user_children", Seconds(children.ru_utime))
      .Take();
}

std::string CommandStatsSection(Server& server) {
  Text text;
  for (const CommandStats& stats : server.command_stats()) {
    const std::uint64_t calls = Read(stats.calls);
    if (calls == 0) continue;
    const std::uint64_t micros = Read(stats.micros);
    text.Line(fmt::format("cmdstat_{}", stats.name),
              fmt::format("calls={},usec={},usec_per_call={:.2f},rejected_calls=0,failed_calls={}",
                          calls, micros, static_cast<double>(micros) / static_cast<double>(calls),
                          Read(stats.failed)));
  }
  return text.Take();
}

std::string ClusterSection(Server&) {
  return Text().Line("cluster_enabled", 0).Take();
}

std::string KeyspaceSection(Server& server) {
  const cache::Directory& directory = server.cache().directory();
  if (directory.size() == 0) return {};
  return Text()
      .Line("db0",
            fmt::format("keys={},expires={},avg_ttl=0", directory.size(), directory.expiring()))
      .Take();
}

std::string InfinicacheSection(Server& server) {
  const Fill fill = FillOf(server);
  const cache::CacheStats& stats = server.cache().stats();
  Text text;
  text.Line("nodes", server.pool().size())
      .Line("nodes_active", server.pool().active())
      .Line("code", server.cache().options().code.ToString())
      .Line("objects", server.cache().directory().size())
      .Line("object_bytes", server.cache().directory().bytes())
      .Line("stored_bytes", fill.used)
      .Line("chunks", fill.chunks)
      .Line("degraded_reads", Read(stats.degraded_reads))
      .Line("degraded_writes", Read(stats.writes_degraded))
      .Line("hedged_chunks", Read(stats.hedges))
      .Line("corrupt_strips", Read(stats.corrupt_strips))
      .Line("repairs_queued", server.cache().repairs_queued())
      .Line("chunks_repaired", Read(stats.chunks_repaired))
      .Line("objects_lost", stats.gone.Lost());
  text.Line("objects_rebuilt", Read(stats.objects_rebuilt));
  for (std::size_t i = 0; i < cache::kGoneCauses; ++i) {
    text.Line(fmt::format("gone_{}", cache::GoneCauseName(static_cast<cache::GoneCause>(i))),
              Read(stats.gone.objects[i]));
  }
  return text.Take();
}

struct Section {
  std::string_view name;
  std::string_view title;
  std::string (*text)(Server&);
  bool shown_by_default;
};
constexpr auto kSections = std::to_array<Section>({
    {"server", "Server", ServerSection, true},
    {"clients", "Clients", ClientsSection, true},
    {"memory", "Memory", MemorySection, true},
    {"persistence", "Persistence", PersistenceSection, true},
    {"stats", "Stats", StatsSection, true},
    {"replication", "Replication", ReplicationSection, true},
    {"cpu", "CPU", CpuSection, true},
    {"commandstats", "Commandstats", CommandStatsSection, false},
    {"cluster", "Cluster", ClusterSection, true},
    {"infinicache", "Infinicache", InfinicacheSection, true},
    {"keyspace", "Keyspace", KeyspaceSection, true},
});

bool IsWanted(const Section& section, std::span<const std::string_view> names) {
  if (names.empty()) return section.shown_by_default;
  return std::any_of(names.begin(), names.end(), [&](std::string_view name) {
    if (EqualsIgnoreCase(name, "all") || EqualsIgnoreCase(name, "everything")) return true;
    if (EqualsIgnoreCase(name, "default")) return section.shown_by_default;
    return EqualsIgnoreCase(name, section.name);
  });
}

}  // namespace

std::string DescribeServer(Server& server, std::span<const std::string_view> names) {
  std::string text;
  for (const Section& section : kSections) {
    if (!IsWanted(section, names)) continue;
    if (!text.empty()) text += "\r\n";
    text += fmt::format("# {}\r\n{}", section.title, section.text(server));
  }
  return text;
}

}  // namespace infinicache::proxy
