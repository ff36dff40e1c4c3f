#include "app/status_text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <cstdint>
#include <ctime>
#include <string_view>
#include <vector>

#include "app/answer_text.h"
#include "app/duration.h"
#include "base/bytes.h"

namespace infinicache::app {
namespace {

namespace json = boost::json;

constexpr std::size_t kBarColumns = 30;

// "1 chunk", "12,345 chunks"
std::string Counted(std::uint64_t number, std::string_view noun) {
  return fmt::format("{} {}{}", Grouped(number), noun, number == 1 ? "" : "s");
}

double Share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(std::min(part, whole)) / static_cast<double>(whole);
}

// "[######........................]   20%  1.6 GiB of 8 GiB"
std::string Bar(std::uint64_t used, std::uint64_t limit) {
  const double share = Share(used, limit);
  auto filled = static_cast<std::size_t>(share * kBarColumns);
  if (used > 0 && filled == 0) filled = 1;
  return fmt::format("[{}{}] {:4.0f}%  {} of {}", std::string(filled, '#'),
                     std::string(kBarColumns - filled, '.'), share * 100, FormatByteSize(used),
                     FormatByteSize(limit));
}

std::string Health(const json::value& status) {
  const std::uint64_t serving = Number(status, "/nodes/serving");
  const std::uint64_t total = Number(status, "/nodes/total");
  if (!Truth(status, "/ready")) {
    return fmt::format("NOT READY: {} of {} nodes serve, code {} needs {}", serving, total,
                       Text(status, "/code"), Number(status, "/nodes/needed"));
  }
  if (serving < total) return fmt::format("DEGRADED: {} of {} nodes serve", serving, total);
  return "healthy";
}

std::string NodeCounts(const json::value& status) {
  std::string text = fmt::format("{} of {} active", Number(status, "/nodes/active"),
                                 Number(status, "/nodes/total"));
  for (const std::string state : {"asleep", "waking", "starting", "down"}) {
    if (const auto count = Number(status, "/nodes/" + state); count > 0)
      text += fmt::format(", {} {}", count, state);
  }
  return text;
}

std::string Hits(const json::value& status) {
  const std::uint64_t hits = Number(status, "/hits");
  const std::uint64_t reads = hits + Number(status, "/misses");
  if (reads == 0) return "none yet";
  return fmt::format(
      "{}, {:.1f}% hits; {} degraded, {} lost, {} unavailable, {} broken", Grouped(reads),
      Share(hits, reads) * 100, Grouped(Number(status, "/degraded_reads")),
      Grouped(Number(status, "/misses_lost")), Grouped(Number(status, "/misses_unavailable")),
      Grouped(Number(status, "/broken_reads")));
}

// The key as a terminal can show it: encoded if it is no text or has control characters.
std::string ShownKey(const json::value& object) {
  const json::value* key = Find(object, "/key");
  const bool shown = key != nullptr && key->is_string() &&
                     std::none_of(key->get_string().begin(), key->get_string().end(), [](char c) {
                       return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
                     });
  return shown ? std::string(key->get_string()) : Text(object, "/key_encoded");
}

std::string Expiry(const json::value& object, WallMillis now) {
  const json::value* at = Find(object, "/expires_at_ms");
  if (at == nullptr || !at->is_int64()) return "never expires";
  const WallMillis left = std::max<WallMillis>(0, at->get_int64() - now);
  return fmt::format("expires in {}", DescribeDuration(std::chrono::milliseconds(left)));
}

// "24 chunks; 6 queued, 12 MiB to go at 3 MiB/s, about 4s; 1 failed"
std::string Repairs(const json::value& status) {
  const std::uint64_t bytes = Number(status, "/repairs/bytes_queued");
  const std::uint64_t rate = Number(status, "/repairs/bytes_per_second");
  std::string text = fmt::format("{}; {} queued", Counted(Number(status, "/repairs/done"), "chunk"),
                                 Grouped(Number(status, "/repairs/queued")));
  if (bytes > 0) text += fmt::format(", {} to go", FormatByteSize(bytes));
  if (bytes > 0 && rate > 0) {
    text += fmt::format(" at {}/s, about {}", FormatByteSize(rate),
                        DescribeDuration(std::chrono::seconds(bytes / rate + 1)));
  }
  return text + fmt::format(", {} failed", Grouped(Number(status, "/repairs/failed")));
}

// "120 rounds, 3 failed, 40 MiB moved; 2 nodes behind, 1 failover"
std::string Backups(const json::value& status) {
  return fmt::format(
      "{}, {} failed, {} moved; {} behind, {}", Counted(Number(status, "/backups/done"), "round"),
      Grouped(Number(status, "/backups/failed")), FormatByteSize(Number(status, "/backups/bytes")),
      Counted(Number(status, "/backups/nodes_behind"), "node"),
      Counted(Number(status, "/backups/failovers"), "failover"));
}

// "2 objects: 2 reclaimed, 0 corrupt; others gone: 9 evicted, 4 expired, 0 flushed, 0 torn"
std::string Losses(const json::value& status) {
  const auto gone = [&](std::string_view cause) {
    return fmt::format("{} {}", Grouped(Number(status, fmt::format("/gone/{}/objects", cause))),
                       cause);
  };
  return fmt::format("{}: {}, {}; others gone: {}, {}, {}, {}",
                     Counted(Number(status, "/losses"), "object"), gone("reclaimed"),
                     gone("corrupt"), gone("evicted"), gone("expired"), gone("flushed"),
                     gone("torn"));
}

// "the directory is being rebuilt: 12.5% of the keys, 1,024 objects so far"
std::string Loading(const json::value& status) {
  return fmt::format("the directory is being rebuilt: {:.1f}% of the keys, {} so far",
                     Real(status, "/rebuild/share") * 100,
                     Counted(Number(status, "/rebuild/objects"), "object"));
}

// "current, 1m" (the age of what the peer has), "12 MiB behind, 5m", "none yet"
std::string BackupText(const json::value& node) {
  if (Find(node, "/backup/behind") == nullptr) return "-";
  const json::value* age = Find(node, "/backup/age_seconds");
  if (age == nullptr || !age->is_double()) return "none yet";
  const auto old = DescribeDuration(std::chrono::seconds(std::llround(age->get_double())));
  if (!Truth(node, "/backup/behind")) return "current, " + old;
  return fmt::format("{} behind, {}", FormatByteSize(Number(node, "/backup/bytes_behind")), old);
}

}  // namespace

std::string StatusText(const json::value& status) {
  const auto line = [](std::string_view name, const std::string& text) {
    return fmt::format("  {:<10}{}\n", name, text);
  };
  const auto uptime = std::chrono::seconds(Number(status, "/uptime_seconds"));
  return fmt::format("infinicache {} at redis://{}: {}\n", Text(status, "/version"),
                     Text(status, "/listen"), Health(status)) +
         line("up", fmt::format("{}, platform {}, code {}", DescribeDuration(uptime),
                                Text(status, "/platform"), Text(status, "/code"))) +
         line("nodes", NodeCounts(status)) +
         line("objects", fmt::format("{}, {}", Grouped(Number(status, "/objects")),
                                     FormatByteSize(Number(status, "/object_bytes")))) +
         line("capacity", Bar(Number(status, "/stored_bytes"), Number(status, "/capacity_bytes"))) +
         line("reads", Hits(status)) +
         line("writes",
              fmt::format("{}; {} failed, {} degraded", Grouped(Number(status, "/writes")),
                          Grouped(Number(status, "/writes_failed")),
                          Grouped(Number(status, "/writes_degraded")))) +
         line("repairs", Repairs(status)) +
         (Find(status, "/backups/done") != nullptr ? line("backups", Backups(status)) : "") +
         line("losses", Losses(status)) +
         (Truth(status, "/rebuild/loading") ? line("loading", Loading(status)) : "") +
         line("clients", Grouped(Number(status, "/clients"))) +
         line("memory", fmt::format("{} resident; {} of {} for requests in flight",
                                    FormatByteSize(Number(status, "/memory_rss_bytes")),
                                    FormatByteSize(Number(status, "/memory/budget_used_bytes")),
                                    FormatByteSize(Number(status, "/memory/budget_limit_bytes"))));
}

bool IsDegraded(const json::value& status) {
  return !Truth(status, "/ready") ||
         Number(status, "/nodes/serving") < Number(status, "/nodes/total");
}

std::string NodesText(const json::value& nodes) {
  if (!nodes.is_array()) return "no nodes\n";
  std::vector<std::vector<std::string>> rows = {
      {"NODE", "STATE", "PID", "ADDRESS", "INSTANCE", "CHUNKS", "USED", "LIMIT"}};
  const bool backs_up =
      std::any_of(nodes.get_array().begin(), nodes.get_array().end(),
                  [](const json::value& node) { return Find(node, "/backup/behind") != nullptr; });
  if (backs_up) rows.front().emplace_back("BACKUP");
  std::uint64_t used = 0;
  std::uint64_t limit = 0;
  std::size_t active = 0;
  for (const json::value& node : nodes.get_array()) {
    const std::uint64_t pid = Number(node, "/pid");
    rows.push_back({fmt::to_string(Number(node, "/id")), Text(node, "/state"),
                    pid == 0 ? "-" : fmt::to_string(pid), Text(node, "/address"),
                    Text(node, "/instance"), Grouped(Number(node, "/chunks")),
                    FormatByteSize(Number(node, "/bytes_used")),
                    FormatByteSize(Number(node, "/bytes_limit"))});
    if (backs_up) rows.back().push_back(BackupText(node));
    used += Number(node, "/bytes_used");
    limit += Number(node, "/bytes_limit");
    if (Text(node, "/state") == "active") ++active;
  }
  return Table(rows, {0, 2, 5, 6, 7, 8}) + fmt::format("{} of {} active; {}\n", active,
                                                       Counted(rows.size() - 1, "node"),
                                                       Bar(used, limit));
}

bool AllNodesServe(const json::value& nodes) {
  const json::array* rows = nodes.if_array();
  return rows != nullptr && !rows->empty() &&
         std::all_of(rows->begin(), rows->end(), [](const json::value& node) {
           const std::string state = Text(node, "/state");
           return state != "starting" && state != "down";
         });
}

std::string ObjectText(const json::value& object, WallMillis now) {
  std::vector<std::vector<std::string>> rows = {{"CHUNK", "KIND", "NODE", "STATE", "BYTES"}};
  const json::value* chunks = Find(object, "/chunks");
  const json::array* list = chunks == nullptr ? nullptr : chunks->if_array();
  for (const json::value& chunk : list == nullptr ? json::array() : *list) {
    const bool alive = Truth(chunk, "/alive");
    rows.push_back({fmt::to_string(Number(chunk, "/index")), Text(chunk, "/kind"),
                    alive ? fmt::to_string(Number(chunk, "/node")) : "-", alive ? "alive" : "lost",
                    Grouped(Number(chunk, "/bytes"))});
  }
  return fmt::format("{}: {}, code {}, version {}, {}\n{} of {} alive, any {} give it back\n",
                     ShownKey(object), FormatByteSize(Number(object, "/bytes")),
                     Text(object, "/code"), Text(object, "/version"), Expiry(object, now),
                     Number(object, "/surviving"), Counted(rows.size() - 1, "chunk"),
                     Number(object, "/needed")) +
         Table(rows, {0, 2, 4});
}

std::string DoctorText(const json::value& doctor) {
  std::vector<std::vector<std::string>> rows = {{"CAN STILL LOSE", "OBJECTS", "BYTES"}};
  const auto add = [&](std::string name, const json::value& of) {
    rows.push_back(
        {std::move(name), Grouped(Number(of, "/objects")), FormatByteSize(Number(of, "/bytes"))});
  };
  if (const json::value* lost = Find(doctor, "/unreadable");
      lost != nullptr && HasUnreadable(doctor))
    add("unreadable", *lost);
  if (const json::value* classes = Find(doctor, "/by_spare"); classes && classes->is_array()) {
    for (const json::value& of : classes->get_array())
      add(Counted(Number(of, "/spare"), "chunk"), of);
  }
  std::string text = rows.size() == 1 ? "no objects\n" : Table(rows, {1, 2});
  text += fmt::format(
      "{} lost since the start; {} lack chunks\n"
      "{} lost in the last {}, at most {} within {}\n"
      "predicted: an object of code {} survives an hour with {:.4f} %\n",
      Counted(Number(doctor, "/objects_lost"), "object"), Grouped(Number(doctor, "/incomplete")),
      Counted(Number(doctor, "/observed/instances_lost"), "instance"),
      DescribeDuration(std::chrono::seconds(std::llround(Real(doctor, "/observed/hours") * 3600))),
      Number(doctor, "/observed/worst_window"),
      DescribeDuration(std::chrono::seconds(Number(doctor, "/observed/window_seconds"))),
      Text(doctor, "/code"), Real(doctor, "/predicted/availability_per_hour") * 100);
  const json::value* findings = Find(doctor, "/findings");
  if (!HasFindings(doctor)) return text + "no findings\n";
  for (const json::value& finding : findings->get_array())
    text += fmt::format("{}: {}\n", Text(finding, "/severity"), Text(finding, "/text"));
  return text;
}

bool HasFindings(const json::value& doctor) {
  const json::value* findings = Find(doctor, "/findings");
  return findings != nullptr && findings->is_array() && !findings->get_array().empty();
}

bool HasUnreadable(const json::value& doctor) {
  return Number(doctor, "/unreadable/objects") > 0;
}

std::string EventText(const json::value& event) {
  const std::uint64_t at_ms = Number(event, "/at_ms");
  const auto at = static_cast<std::time_t>(at_ms / 1000);
  const json::value* node = Find(event, "/node");
  const std::string where =
      node == nullptr || node->is_null()
          ? ""
          : fmt::format("node {:<4}  {:<16}  ", Number(event, "/node"), Text(event, "/instance"));
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z  {:<18}  {}{}", fmt::gmtime(at), at_ms % 1000,
                     Text(event, "/kind"), where, Text(event, "/detail"));
}

std::uint64_t EventNumber(const json::value& event) {
  return Number(event, "/id");
}

}  // namespace infinicache::app
