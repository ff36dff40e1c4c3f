#include "admin/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <chrono>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

namespace infinicache::admin {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;
using Families = std::vector<MetricFamily>;

MetricFamily& AddFamily(Families& families, MetricType type, std::string_view name,
                        std::string_view help) {
  return families.emplace_back(
      MetricFamily{"infinicache_" + std::string(name), std::string(help), type, {}});
}

// A sample of a counter or gauge family.
void AddSample(MetricFamily& family, double value, Labels labels = {}) {
  ClientMetric& sample = family.metric.emplace_back();
  sample.label = std::move(labels);
  (family.type == MetricType::Counter ? sample.counter.value : sample.gauge.value) = value;
}

void AddGauge(Families& families, std::string_view name, double value, std::string_view help) {
  AddSample(AddFamily(families, MetricType::Gauge, name, help), value);
}

void AddCounter(Families& families, std::string_view name, double value, std::string_view help) {
  AddSample(AddFamily(families, MetricType::Counter, name, help), value);
}

void AddCounter(Families& families, std::string_view name, const Counter& counter,
                std::string_view help) {
  AddCounter(families, name, static_cast<double>(Read(counter)), help);
}

// The count is the sum of the buckets read here, so that one scrape agrees with itself.
ClientMetric::Histogram ToPrometheus(const LatencyHistogram& latency) {
  ClientMetric::Histogram histogram;
  for (std::size_t i = 0; i <= LatencyHistogram::kBounds; ++i) {
    histogram.sample_count += latency.bucket_count(i);
    const double bound = i < LatencyHistogram::kBounds ? LatencyHistogram::kUpperSeconds[i]
                                                       : std::numeric_limits<double>::infinity();
    histogram.bucket.push_back({histogram.sample_count, bound});
  }
  histogram.sample_sum = latency.sum_seconds();
  return histogram;
}

void AddProcess(const SystemView& view, Families& out) {
  AddSample(
      AddFamily(out, MetricType::Gauge, "build_info", "Always 1; what runs is in the labels."), 1,
      {{"code", view.code.ToString()}, {"platform", view.platform}, {"version", view.version}});
  AddGauge(out, "process_start_time_seconds", static_cast<double>(view.started_at) / 1e3,
           "When the server started, in seconds since the Unix epoch.");
  AddGauge(out, "process_resident_memory_bytes", static_cast<double>(view.memory_rss_bytes),
           "Memory of the server that is in RAM; the nodes' memory is their own.");
  auto& used = AddFamily(out, MetricType::Gauge, "buffer_budget_used_bytes",
                         "Memory that requests in flight have taken of their loop's budget.");
  for (const LoopMemory& loop : view.loops) {
    AddSample(used, static_cast<double>(loop.budget_used_bytes),
              {{"loop", std::to_string(loop.loop)}});
  }
  auto& limit = AddFamily(out, MetricType::Gauge, "buffer_budget_limit_bytes",
                          "Memory that requests in flight on a loop may take.");
  for (const LoopMemory& loop : view.loops) {
    AddSample(limit, static_cast<double>(loop.budget_limit_bytes),
              {{"loop", std::to_string(loop.loop)}});
  }
  auto& buffers = AddFamily(out, MetricType::Gauge, "buffer_pool_bytes",
                            "Memory that a loop's buffer pool holds, lent out or for reuse.");
  for (const LoopMemory& loop : view.loops) {
    AddSample(buffers, static_cast<double>(loop.buffer_bytes),
              {{"loop", std::to_string(loop.loop)}});
  }
}

void AddCommands(const SystemView& view, Families& out) {
  auto& calls = AddFamily(out, MetricType::Counter, "commands_total", "Commands called, by name.");
  for (const auto& command : view.commands) {
    AddSample(calls, static_cast<double>(Read(command.calls)),
              {{"command", std::string(command.name)}});
  }
  auto& failed = AddFamily(out, MetricType::Counter, "commands_failed_total",
                           "Commands answered with an error, by name.");
  for (const auto& command : view.commands) {
    AddSample(failed, static_cast<double>(Read(command.failed)),
              {{"command", std::string(command.name)}});
  }
  auto& latency = AddFamily(out, MetricType::Histogram, "command_duration_seconds",
                            "Time from a command's arrival to the end of its handler, by name.");
  for (const auto& command : view.commands) {
    ClientMetric::Histogram histogram = ToPrometheus(command.latency);
    if (histogram.sample_count == 0) continue;
    ClientMetric& metric = latency.metric.emplace_back();
    metric.label = {{"command", std::string(command.name)}};
    metric.histogram = std::move(histogram);
  }
  AddCounter(out, "commands_processed_total", view.proxy.commands,
             "Commands received, unknown ones included.");
  AddCounter(out, "error_replies_total", view.proxy.error_replies, "Error replies sent.");
}

void AddClients(const SystemView& view, Families& out) {
  AddGauge(out, "clients", static_cast<double>(view.clients), "Clients connected now.");
  AddCounter(out, "connections_accepted_total", view.proxy.connections_accepted,
             "Client connections accepted.");
  AddCounter(out, "connections_rejected_total", view.proxy.connections_rejected,
             "Client connections refused because there were too many.");
  AddCounter(out, "client_input_bytes_total", view.proxy.net_input_bytes,
             "Bytes received from clients.");
  AddCounter(out, "client_output_bytes_total", view.proxy.net_output_bytes,
             "Bytes sent to clients.");
}

std::size_t Index(cache::GoneCause cause) {
  return static_cast<std::size_t>(cause);
}

Labels CauseLabel(std::size_t cause) {
  return {{"cause", std::string(cache::GoneCauseName(static_cast<cache::GoneCause>(cause)))}};
}

void AddObjects(const SystemView& view, Families& out) {
  AddGauge(out, "objects", static_cast<double>(view.objects), "Objects stored now.");
  AddGauge(out, "object_bytes", static_cast<double>(view.object_bytes),
           "Size of all objects, as their users see it (without parity).");
  AddGauge(out, "objects_expiring", static_cast<double>(view.objects_expiring),
           "Objects stored now that have an expiry.");
  const cache::GoneCounters& gone = view.cache.gone;
  using cache::GoneCause;
  auto& objects = AddFamily(out, MetricType::Counter, "objects_gone_total",
                            "Objects that left other than by DEL or overwriting, by cause.");
  for (std::size_t i = 0; i < cache::kGoneCauses; ++i)
    AddSample(objects, static_cast<double>(Read(gone.objects[i])), CauseLabel(i));
  auto& bytes = AddFamily(out, MetricType::Counter, "gone_bytes_total",
                          "Bytes of objects that left other than by DEL or overwriting, by cause.");
  for (std::size_t i = 0; i < cache::kGoneCauses; ++i)
    AddSample(bytes, static_cast<double>(Read(gone.bytes[i])), CauseLabel(i));
  // Sums and parts of these, by the names that dashboards know.
  AddCounter(out, "objects_expired_total", gone.objects[Index(GoneCause::kExpired)],
             "Objects removed because their time had come.");
  AddCounter(out, "objects_evicted_total", gone.objects[Index(GoneCause::kEvicted)],
             "Objects removed to make room for others.");
  AddCounter(out, "evicted_bytes_total", gone.bytes[Index(GoneCause::kEvicted)],
             "Object bytes removed to make room for others.");
  AddCounter(out, "objects_lost_total", static_cast<double>(gone.Lost()),
             "Objects dropped because fewer than d of their chunks survived.");
  AddCounter(out, "objects_written_total", view.cache.objects_written, "Objects written.");
  AddCounter(out, "writes_failed_total", view.cache.writes_failed, "Writes that failed.");
  AddCounter(out, "writes_degraded_total", view.cache.writes_degraded,
             "Writes that succeeded with fewer than d+p chunks stored; repair follows.");
  AddCounter(out, "written_bytes_total", view.cache.bytes_written, "Object bytes written.");
}

void AddReads(const SystemView& view, Families& out) {
  const std::array<std::pair<const char*, const Counter*>, 4> results = {{
      {"hit", &view.cache.hits},
      {"absent", &view.cache.misses_absent},
      {"lost", &view.cache.misses_lost},
      {"unavailable", &view.cache.misses_unavailable},
  }};
  auto& reads = AddFamily(out, MetricType::Counter, "reads_total",
                          "Reads of a key: hit; absent or expired; lost (fewer than d chunks "
                          "survive); unavailable (too few nodes answered in time).");
  for (const auto& [result, counter] : results)
    AddSample(reads, static_cast<double>(Read(*counter)), {{"result", result}});
  AddCounter(out, "read_bytes_total", view.cache.bytes_read, "Object bytes read.");
  AddCounter(out, "degraded_reads_total", view.cache.degraded_reads,
             "Reads that had to decode, or to read a replica other than the first choice.");
  AddCounter(out, "mapped_reads_total", view.cache.mapped_reads,
             "Reads of chunks in mapped memory of nodes, without a message to them.");
  AddCounter(out, "mapped_writes_total", view.cache.mapped_writes,
             "Chunks put into mapped memory of nodes, without a message to them.");
  AddCounter(out, "broken_reads_total", view.cache.broken_reads,
             "Replies cut short because chunks were lost while they were sent.");
  AddCounter(out, "hedges_total", view.cache.hedges,
             "Parity chunks asked for because another chunk was late.");
  AddCounter(out, "corrupt_strips_total", view.cache.corrupt_strips,
             "Strips whose checksum did not hold.");
}

void AddRepairs(const SystemView& view, Families& out) {
  AddGauge(out, "repairs_queued", static_cast<double>(view.repairs_queued),
           "Objects that wait for repair.");
  AddGauge(out, "repair_queued_bytes", static_cast<double>(view.repair_bytes_queued),
           "Chunk bytes that the objects that wait for repair lack.");
  AddCounter(out, "chunks_repaired_total", view.cache.chunks_repaired, "Chunks re-created.");
  AddCounter(out, "repaired_bytes_total", view.cache.repair_bytes, "Chunk bytes re-created.");
  AddCounter(out, "repairs_failed_total", view.cache.repairs_failed,
             "Repair attempts that failed; each is tried again.");
}

void AddRebuild(const SystemView& view, Families& out) {
  AddGauge(out, "rebuild_loading", view.loading ? 1 : 0,
           "Is 1 while the directory is being rebuilt from what nodes hold.");
  AddGauge(out, "rebuild_ratio", view.rebuilt_share, "Share of the keys that are rebuilt.");
  AddCounter(out, "objects_rebuilt_total", view.cache.objects_rebuilt,
             "Objects found on nodes when the directory was rebuilt.");
  AddCounter(out, "rebuilt_bytes_total", view.cache.bytes_rebuilt, "Their object bytes.");
  AddCounter(out, "chunks_listed_total", view.cache.chunks_listed,
             "Chunks that nodes listed for it.");
  AddCounter(out, "orphans_freed_total", view.cache.orphans_freed,
             "Chunks among them that belonged to no object.");
  AddCounter(out, "marks_unconfirmed_total", view.cache.marks_unconfirmed,
             "Chunks of deleted objects of which a node did not confirm in time that they are.");
}

std::size_t CountNodes(const SystemView& view, pool::NodeState state) {
  std::size_t count = 0;
  for (const pool::NodeView& node : view.nodes) count += node.state == state ? 1 : 0;
  return count;
}

void AddNodes(const SystemView& view, Families& out) {
  auto& states = AddFamily(out, MetricType::Gauge, "nodes", "Nodes of the pool, by state.");
  for (const auto state :
       {pool::NodeState::kActive, pool::NodeState::kAsleep, pool::NodeState::kWaking,
        pool::NodeState::kStarting, pool::NodeState::kDown}) {
    AddSample(states, static_cast<double>(CountNodes(view, state)),
              {{"state", std::string(pool::NodeStateName(state))}});
  }
  AddGauge(out, "nodes_needed", static_cast<double>(view.code.width()),
           "Nodes that must be active for the server to be ready: d+p of the code.");
  auto& used = AddFamily(out, MetricType::Gauge, "node_used_bytes",
                         "Memory that a node's chunks take, as it told last.");
  for (const auto& node : view.nodes) {
    AddSample(used, static_cast<double>(node.bytes_used),
              {{"node", std::to_string(node.id.value())}});
  }
  auto& lent = AddFamily(out, MetricType::Gauge, "node_lent_bytes",
                         "Memory that a node has lent to the proxy, for chunks to come.");
  for (const auto& node : view.nodes) {
    AddSample(lent, static_cast<double>(node.bytes_lent),
              {{"node", std::to_string(node.id.value())}});
  }
  auto& limit =
      AddFamily(out, MetricType::Gauge, "node_limit_bytes", "Memory that a node has for chunks.");
  for (const auto& node : view.nodes) {
    AddSample(limit, static_cast<double>(node.bytes_limit),
              {{"node", std::to_string(node.id.value())}});
  }
  auto& chunks = AddFamily(out, MetricType::Gauge, "node_chunks", "Chunks on a node.");
  for (const auto& node : view.nodes) {
    AddSample(chunks, static_cast<double>(node.chunks),
              {{"node", std::to_string(node.id.value())}});
  }
  AddCounter(out, "instances_started_total", view.pool.instances_started,
             "Instances that became ready.");
  AddCounter(out, "instances_adopted_total", view.pool.instances_adopted,
             "Instances among those started that a server had left that crashed.");
  AddCounter(out, "instances_ended_total", view.pool.instances_ended,
             "Instances that ended, and their memory with them.");
  AddCounter(out, "instances_reclaimed_total", view.pool.instances_reclaimed,
             "Instances among those ended that the platform took away.");
}

void AddSessions(const SystemView& view, Families& out) {
  AddCounter(out, "invocations_total", view.pool.invocations,
             "Invocations of nodes, each of which begins a session.");
  AddCounter(out, "invocations_failed_total", view.pool.invocations_failed,
             "Invocations that the platform refused, or that ended in a fault.");
  AddCounter(out, "warm_ups_total", view.pool.warm_ups,
             "Invocations only to keep an instance from being reclaimed.");
  AddCounter(out, "preflights_total", view.pool.preflights,
             "PINGs sent because a node might have been about to end its session.");
  AddCounter(out, "wake_demands_total", view.pool.demands,
             "Times that requests had to wait for a node to wake, or to be sure that it is awake.");
  AddCounter(
      out, "requests_crossed_total", view.pool.requests_crossed,
      "Times that requests were on their way to a node as its session ended: it answers them "
      "in the next one.");
  AddCounter(out, "wakes_too_late_total", view.pool.wakes_too_late,
             "Times that requests gave up the wait for a node: its chunks were taken as missing.");
  AddCounter(out, "node_requests_total", view.pool.requests_of_sessions,
             "Requests that nodes served, as they told when their sessions ended.");
  AddCounter(out, "failovers_total", view.pool.failovers,
             "Times that a node's peer went on as its primary instance.");
  AddCounter(out, "chunks_kept_by_failover_total", view.cache.chunks_kept,
             "Chunks that a peer had when it went on as the primary.");
  if (view.wakes == nullptr) return;
  auto& wakes = AddFamily(out, MetricType::Histogram, "wake_duration_seconds",
                          "Time from an invocation to the node's PONG.");
  wakes.metric.emplace_back().histogram = ToPrometheus(*view.wakes);
}

void AddBackups(const SystemView& view, Families& out) {
  if (view.backups == nullptr) return;
  const pool::BackupStats& stats = view.backups->stats();
  auto& rounds = AddFamily(out, MetricType::Counter, "backups_total",
                           "Rounds in which a node sent its changes to its peer, by result.");
  for (std::size_t i = 0; i < pool::kBackupResults; ++i) {
    AddSample(
        rounds, static_cast<double>(Read(stats.rounds[i])),
        {{"result", std::string(pool::BackupResultName(static_cast<pool::BackupResult>(i)))}});
  }
  AddCounter(out, "backup_bytes_total", stats.traffic_bytes,
             "Bytes moved between nodes and their peers, in both directions.");
  AddCounter(out, "backup_chunks_total", stats.chunks, "Chunks sent to peers.");
  AddCounter(out, "backup_chunk_bytes_total", stats.chunk_bytes, "Their bytes.");
  AddCounter(out, "backup_removals_total", stats.removals,
             "Chunks that peers were told to remove.");
  AddCounter(out, "backup_comparisons_total", stats.comparisons,
             "Rounds that had to compare what both have, for want of a common past.");
  AddCounter(out, "backup_warm_ups_total", stats.warm_ups,
             "Rounds of nodes that had not changed, to keep their peers.");
  AddGauge(out, "backups_running", static_cast<double>(view.backups->running()),
           "Rounds that run now.");
  AddGauge(out, "backup_dirty_nodes", static_cast<double>(view.backups->dirty()),
           "Nodes that have changed since their last round.");
  auto& durations = AddFamily(out, MetricType::Histogram, "backup_duration_seconds",
                              "How long rounds took that succeeded, waking included.");
  durations.metric.emplace_back().histogram = ToPrometheus(stats.durations);
}

Labels OfCause(policy::Cause cause) {
  return {{"cause", std::string(policy::CauseName(cause))}};
}

void AddDollars(const CostView& cost, Families& out) {
  const policy::CostReport& report = cost.report;
  auto& dollars =
      AddFamily(out, MetricType::Counter, "cost_dollars_total",
                "What the pool has cost since the start, by cause; standing: billed by the hour.");
  for (const policy::Cause cause : policy::kCauses)
    AddSample(dollars, report.of(cause).dollars, OfCause(cause));
  AddSample(dollars, report.standing_dollars, {{"cause", "standing"}});
  auto& beside = AddFamily(out, MetricType::Counter, "cost_alternative_dollars_total",
                           "What the same memory would have cost since the start elsewhere.");
  if (report.provisioned) {
    AddSample(beside, report.provisioned->dollars,
              {{"kind", "provisioned"}, {"price", report.provisioned->name}});
  }
  if (report.storage) {
    AddSample(beside, report.storage->dollars,
              {{"kind", "storage"}, {"price", report.storage->name}});
  }
}

void AddCost(const CostView& cost, Families& out) {
  AddDollars(cost, out);
  const struct {
    std::string_view name;
    std::string_view help;
    double (*value)(const policy::CauseCost& of);
  } sums[] = {
      {"sessions_total", "Sessions that were answered or are over, by cause.",
       [](const policy::CauseCost& of) { return static_cast<double>(of.sessions); }},
      {"cold_starts_total", "Sessions among them that started their instance.",
       [](const policy::CauseCost& of) { return static_cast<double>(of.cold_starts); }},
      {"billed_seconds_total", "Their time as it is billed, rounded up.",
       [](const policy::CauseCost& of) { return of.billed_seconds; }},
      {"billed_gb_seconds_total", "Their billed time by memory; a GB is 2^30 bytes.",
       [](const policy::CauseCost& of) { return of.gb_seconds; }},
  };
  for (const auto& sum : sums) {
    auto& family = AddFamily(out, MetricType::Counter, sum.name, sum.help);
    for (const policy::Cause cause : policy::kCauses)
      AddSample(family, sum.value(cost.report.of(cause)), OfCause(cause));
  }
  AddGauge(out, "duty_cycle_ratio", cost.report.duty_cycle.value_or(0),
           "Share of the nodes' time since the start in which they were in session.");
  auto& instances =
      AddFamily(out, MetricType::Gauge, "instances", "Instances that live, by what they do.");
  AddSample(instances, static_cast<double>(cost.instances.busy), {{"state", "busy"}});
  AddSample(instances, static_cast<double>(cost.instances.idle), {{"state", "idle"}});
  AddSample(instances, static_cast<double>(cost.instances.frozen), {{"state", "frozen"}});
  if (!cost.warm_up_interval) return;
  AddGauge(out, "warm_up_interval_seconds",
           std::chrono::duration<double>(*cost.warm_up_interval).count(),
           "How long an instance may be idle at present before it is warmed up.");
}

}  // namespace

std::string RenderMetrics(const SystemView& view) {
  Families families;
  AddProcess(view, families);
  AddCommands(view, families);
  AddClients(view, families);
  AddObjects(view, families);
  AddReads(view, families);
  AddRepairs(view, families);
  AddRebuild(view, families);
  AddNodes(view, families);
  AddSessions(view, families);
  AddBackups(view, families);
  if (view.cost) AddCost(*view.cost, families);
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace infinicache::admin
