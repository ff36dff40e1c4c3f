#include "admin/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "admin/cost.h"
#include "base/histogram.h"
#include "net/http_server.h"

namespace infinicache::admin {
namespace {

namespace json = boost::json;

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
bool IsUtf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    std::size_t more = 0;
    std::uint32_t smallest = 0;
    if (lead < 0x80) {
      ++i;
      continue;
    }
    if ((lead & 0xE0) == 0xC0) {
      more = 1;
      smallest = 0x80;
    } else if ((lead & 0xF0) == 0xE0) {
      more = 2;
      smallest = 0x800;
    } else if ((lead & 0xF8) == 0xF0) {
      more = 3;
      smallest = 0x10000;
    } else {
      return false;
    }
    if (text.size() - i <= more) return false;
    std::uint32_t code = lead & (0x3FU >> more);
    for (std::size_t k = 1; k <= more; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0) != 0x80) return false;
      code = code << 6 | (next & 0x3FU);
    }
    if (code < smallest || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return false;
    i += more + 1;
  }
  return true;
}

json::object NodeCounts(const SystemView& view) {
  const auto counts = CountByState(view.nodes);
  const auto count = [&](pool::NodeState state) { return counts[static_cast<std::size_t>(state)]; };
  return {{"total", view.nodes.size()},
          {"active", count(pool::NodeState::kActive)},
          {"asleep", count(pool::NodeState::kAsleep)},
          {"waking", count(pool::NodeState::kWaking)},
          {"starting", count(pool::NodeState::kStarting)},
          {"down", count(pool::NodeState::kDown)},
          {"serving", view.nodes_active},
          {"needed", view.code.width()}};
}

json::object Memory(const SystemView& view) {
  std::uint64_t used = 0;
  std::uint64_t limit = 0;
  std::uint64_t buffers = 0;
  for (const LoopMemory& loop : view.loops) {
    used += loop.budget_used_bytes;
    limit += loop.budget_limit_bytes;
    buffers += loop.buffer_bytes;
  }
  return {{"budget_used_bytes", used}, {"budget_limit_bytes", limit}, {"buffer_bytes", buffers}};
}

// By cause.
json::object Gone(const cache::GoneCounters& gone) {
  json::object causes;
  for (std::size_t i = 0; i < cache::kGoneCauses; ++i) {
    causes[cache::GoneCauseName(static_cast<cache::GoneCause>(i))] = {
        {"objects", Read(gone.objects[i])}, {"bytes", Read(gone.bytes[i])}};
  }
  return causes;
}

json::value EventRow(const pool::Event& event) {
  json::object row;
  row["id"] = event.id;
  row["at_ms"] = event.at;
  row["kind"] = pool::EventKindName(event.kind);
  row["node"] = nullptr;
  row["instance"] = nullptr;
  if (pool::IsOfInstance(event.kind)) row["node"] = event.node.value();
  if (event.instance != InstanceId())
    row["instance"] = fmt::format("{:016x}", event.instance.value());
  row["detail"] = event.detail;
  if (!event.gone) return row;
  row["cause"] = event.gone->cause;
  row["key"] = nullptr;
  if (event.kind == pool::EventKind::kObjectLost) row["key"] = event.gone->key;
  row["objects"] = event.gone->objects;
  row["bytes"] = event.gone->bytes;
  json::array instances;
  for (const auto& instance : event.gone->instances) {
    json::object ended = {{"node", instance.node.value()}, {"instance", nullptr}};
    if (instance.id != InstanceId())
      ended["instance"] = fmt::format("{:016x}", instance.id.value());
    instances.push_back(std::move(ended));
  }
  row["instances"] = std::move(instances);
  return row;
}

json::object BackupOf(const pool::BackupView& backup) {
  json::object row = {{"age_seconds", nullptr},
                      {"behind", backup.behind},
                      {"bytes_behind", backup.bytes_behind},
                      {"failures", backup.failures}};
  if (backup.age) row["age_seconds"] = std::chrono::duration<double>(*backup.age).count();
  return row;
}

json::value Backups(const SystemView& view) {
  if (view.backups == nullptr) return nullptr;
  const pool::BackupStats& stats = view.backups->stats();
  const std::uint64_t done =
      Read(stats.rounds[static_cast<std::size_t>(pool::BackupResult::kDone)]);
  std::uint64_t all = 0;
  for (const Counter& rounds : stats.rounds) all += Read(rounds);
  return json::object{{"done", done},
                      {"failed", all - done},
                      {"bytes", Read(stats.traffic_bytes)},
                      {"nodes_behind", view.backups->dirty()},
                      {"failovers", Read(view.pool.failovers)}};
}

json::value NodeRow(const pool::NodeView& node) {
  json::object row;
  row["id"] = node.id.value();
  row["state"] = pool::NodeStateName(node.state);
  row["instance"] = nullptr;
  row["pid"] = nullptr;
  row["address"] = nullptr;
  if (node.instance != InstanceId())
    row["instance"] = fmt::format("{:016x}", node.instance.value());
  if (node.pid != 0) row["pid"] = node.pid;
  if (!node.address.empty()) row["address"] = node.address;
  row["bytes_used"] = node.bytes_used;
  row["bytes_lent"] = node.bytes_lent;
  row["bytes_limit"] = node.bytes_limit;
  row["chunks"] = node.chunks;
  row["backup"] = nullptr;
  if (node.backup) row["backup"] = BackupOf(*node.backup);
  return row;
}

json::value ChunkRow(const cache::ObjectView::Chunk& chunk) {
  json::object row;
  row["index"] = chunk.index;
  row["kind"] = chunk.parity ? "parity" : "data";
  row["node"] = nullptr;
  if (chunk.alive) row["node"] = chunk.node.value();
  row["alive"] = chunk.alive;
  row["bytes"] = chunk.bytes;
  return row;
}

}  // namespace

std::string ErrorJson(std::string_view reason) {
  return json::serialize(json::object{{"error", reason}});
}

std::string StatusJson(const SystemView& view) {
  const cache::CacheStats& cache = view.cache;
  const proxy::ProxyStats& proxy = view.proxy;
  std::uint64_t stored = 0;
  std::uint64_t capacity = 0;
  for (const pool::NodeView& node : view.nodes) {
    stored += node.bytes_used;
    capacity += node.bytes_limit;
  }
  const std::uint64_t absent = Read(cache.misses_absent);
  const std::uint64_t lost = Read(cache.misses_lost);
  const std::uint64_t unavailable = Read(cache.misses_unavailable);
  const json::object status = {
      {"version", view.version},
      {"run_id", view.run_id},
      {"started_at_ms", view.started_at},
      {"uptime_seconds", std::chrono::duration_cast<std::chrono::seconds>(view.uptime).count()},
      {"platform", view.platform},
      {"listen", view.listen},
      {"ready", view.ready()},
      {"code", view.code.ToString()},
      {"nodes", NodeCounts(view)},
      {"instances",
       {{"started", Read(view.pool.instances_started)},
        {"ended", Read(view.pool.instances_ended)},
        {"reclaimed", Read(view.pool.instances_reclaimed)},
        {"invocations", Read(view.pool.invocations)},
        {"invocations_failed", Read(view.pool.invocations_failed)}}},
      {"objects", view.objects},
      {"object_bytes", view.object_bytes},
      {"objects_expiring", view.objects_expiring},
      {"objects_expired", cache.gone.Objects(cache::GoneCause::kExpired)},
      {"stored_bytes", stored},
      {"capacity_bytes", capacity},
      {"clients", view.clients},
      {"connections_accepted", Read(proxy.connections_accepted)},
      {"connections_rejected", Read(proxy.connections_rejected)},
      {"input_bytes", Read(proxy.net_input_bytes)},
      {"output_bytes", Read(proxy.net_output_bytes)},
      {"commands", Read(proxy.commands)},
      {"error_replies", Read(proxy.error_replies)},
      {"hits", Read(cache.hits)},
      {"misses", absent + lost + unavailable},
      {"misses_absent", absent},
      {"misses_lost", lost},
      {"misses_unavailable", unavailable},
      {"losses", cache.gone.Lost()},
      {"objects_evicted", cache.gone.Objects(cache::GoneCause::kEvicted)},
      {"bytes_evicted", cache.gone.Bytes(cache::GoneCause::kEvicted)},
      {"gone", Gone(cache.gone)},
      {"bytes_read", Read(cache.bytes_read)},
      {"degraded_reads", Read(cache.degraded_reads)},
      {"mapped_reads", Read(cache.mapped_reads)},
      {"mapped_writes", Read(cache.mapped_writes)},
      {"broken_reads", Read(cache.broken_reads)},
      {"hedges", Read(cache.hedges)},
      {"corrupt_strips", Read(cache.corrupt_strips)},
      {"writes", Read(cache.objects_written)},
      {"writes_failed", Read(cache.writes_failed)},
      {"writes_degraded", Read(cache.writes_degraded)},
      {"bytes_written", Read(cache.bytes_written)},
      {"repairs",
       {{"queued", view.repairs_queued},
        {"bytes_queued", view.repair_bytes_queued},
        {"bytes_per_second", std::llround(view.repair_bytes_per_second)},
        {"done", Read(cache.chunks_repaired)},
        {"failed", Read(cache.repairs_failed)},
        {"bytes", Read(cache.repair_bytes)}}},
      {"backups", Backups(view)},
      {"rebuild",
       {{"loading", view.loading},
        {"share", view.rebuilt_share},
        {"objects", Read(cache.objects_rebuilt)},
        {"bytes", Read(cache.bytes_rebuilt)},
        {"chunks_listed", Read(cache.chunks_listed)},
        {"orphans_freed", Read(cache.orphans_freed)}}},
      {"marks_unconfirmed", Read(cache.marks_unconfirmed)},
      {"memory_rss_bytes", view.memory_rss_bytes},
      {"memory", Memory(view)},
  };
  return json::serialize(status);
}

std::string NodesJson(std::span<const pool::NodeView> nodes) {
  json::array rows;
  for (const pool::NodeView& node : nodes) rows.push_back(NodeRow(node));
  return json::serialize(rows);
}

std::string DoctorJson(const DoctorView& view) {
  json::array classes;
  for (std::size_t spare = 0; spare < view.risk.by_spare.size(); ++spare) {
    const cache::Risk::Class& of = view.risk.by_spare[spare];
    if (of.objects > 0)
      classes.push_back({{"spare", spare}, {"objects", of.objects}, {"bytes", of.bytes}});
  }
  json::array findings;
  for (const Finding& finding : Findings(view))
    findings.push_back({{"severity", finding.severity}, {"text", finding.text}});
  const Prediction prediction = Predict(view);
  const json::object answer = {
      {"code", view.code.ToString()},
      {"nodes", {{"total", view.nodes}, {"active", view.nodes_active}}},
      {"objects_lost", view.objects_lost},
      {"unreadable", {{"objects", view.risk.lost.objects}, {"bytes", view.risk.lost.bytes}}},
      {"by_spare", std::move(classes)},
      {"incomplete", view.risk.incomplete},
      {"observed",
       {{"hours", prediction.observed_hours},
        {"window_seconds", view.window / std::chrono::seconds(1)},
        {"instances_lost", prediction.instances_lost},
        {"worst_window", prediction.worst_window}}},
      {"predicted",
       {{"loss_per_window", prediction.loss_per_window},
        {"availability_per_hour", prediction.availability_per_hour}}},
      {"findings", std::move(findings)}};
  return json::serialize(answer);
}

std::string EventJson(const pool::Event& event) {
  return json::serialize(EventRow(event));
}

std::string EventsJson(std::span<const pool::Event> events, std::uint64_t last_id) {
  json::array rows;
  for (const pool::Event& event : events) rows.push_back(EventRow(event));
  return json::serialize(json::object{{"events", std::move(rows)}, {"last_id", last_id}});
}

std::string ObjectJson(const cache::ObjectView& object) {
  json::object view;
  view["key"] = nullptr;
  if (IsUtf8(object.key)) view["key"] = object.key;
  view["key_encoded"] = net::PercentEncode(object.key);
  view["bytes"] = object.bytes;
  view["version"] = std::to_string(object.version.value());
  view["code"] = object.code.ToString();
  view["strip_bytes"] = object.strip_bytes;
  view["expires_at_ms"] = nullptr;
  if (object.expires_at != cache::ObjectRecord::kNever) view["expires_at_ms"] = object.expires_at;
  view["surviving"] = std::count_if(object.chunks.begin(), object.chunks.end(),
                                    [](const auto& chunk) { return chunk.alive; });
  view["needed"] = object.code.data;
  json::array chunks;
  for (const auto& chunk : object.chunks) chunks.push_back(ChunkRow(chunk));
  view["chunks"] = std::move(chunks);
  return json::serialize(view);
}

}  // namespace infinicache::admin
