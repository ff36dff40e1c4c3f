// The rows of the settings table, and how each kind of value is read and printed.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>

#include "app/duration.h"
#include "app/preset_setting.h"
#include "app/reclaim_setting.h"
#include "app/settings.h"
#include "base/limits.h"

namespace infinicache::app {
namespace {

constexpr std::uint64_t kTiB = 1024 * kGiB;

constexpr std::string_view kAuto = "auto";
constexpr std::array<std::string_view, 1> kPlatforms = {"local"};
constexpr std::array<std::string_view, 5> kPresets = {"always-on", "lambda-like", "lambda-2019",
                                                      "knative-like", "cloudrun-like"};
constexpr std::array<std::string_view, 3> kEvictionPolicies = {"allkeys-s3fifo", "allkeys-clock",
                                                               "noeviction"};
constexpr std::array<std::string_view, 3> kIdleChoices = {"latest", "earliest", "random"};
constexpr std::array<std::string_view, 6> kLogLevels = {"trace", "debug", "info",
                                                        "warn",  "error", "off"};

tl::unexpected<Error> Invalid(std::string message) {
  return Fail(ErrorCode::kInvalidArgument, std::move(message));
}

// Exact, unlike FormatByteSize: the largest unit that leaves a whole number.
std::string PrintByteSize(std::uint64_t bytes) {
  struct Unit {
    std::uint64_t bytes;
    std::string_view name;
  };
  static constexpr std::array<Unit, 7> kUnits = {{{kTiB, "TiB"},
                                                  {kGiB, "GiB"},
                                                  {kMiB, "MiB"},
                                                  {1000 * 1000 * 1000, "GB"},
                                                  {1000 * 1000, "MB"},
                                                  {kKiB, "KiB"},
                                                  {1000, "KB"}}};
  for (const auto& [unit, name] : kUnits) {
    if (bytes >= unit && bytes % unit == 0) return fmt::format("{}{}", bytes / unit, name);
  }
  return fmt::to_string(bytes);
}

std::string Lowered(std::string_view text) {
  std::string lowered(text);
  std::transform(lowered.begin(), lowered.end(), lowered.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lowered;
}

Status Read(const CountField& field, std::string_view text, Settings& settings) {
  if (!field.zero_word.empty() && text == field.zero_word) {
    settings.*field.member = 0;
    return {};
  }
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const bool too_large = error == std::errc::result_out_of_range && stop == end;
  if (text.empty() || stop != end || (error != std::errc{} && !too_large)) {
    return Invalid(fmt::format("'{}' is not a whole number", text));
  }
  if (too_large || value < field.min || value > field.max) {
    return Invalid(fmt::format("{} is out of range: {} to {}", text, field.min, field.max));
  }
  settings.*field.member = value;
  return {};
}

Status Read(const BytesField& field, std::string_view text, Settings& settings) {
  if (!field.zero_word.empty() && (text == field.zero_word || text == "0")) {
    settings.*field.member = 0;
    return {};
  }
  if (text.ends_with("/s")) text.remove_suffix(2);
  const auto value = ParseByteSize(text);
  if (!value) return tl::make_unexpected(value.error());
  if (*value < field.min || *value > field.max) {
    return Invalid(fmt::format("{} is out of range: {} to {}", text, PrintByteSize(field.min),
                               PrintByteSize(field.max)));
  }
  settings.*field.member = *value;
  return {};
}

Status Read(const DurationField& field, std::string_view text, Settings& settings) {
  const auto value = ParseDuration(text);
  if (!value) return tl::make_unexpected(value.error());
  if (*value < field.min || *value > field.max) {
    return Invalid(fmt::format("{} is out of range: {} to {}", text, PrintDuration(field.min),
                               PrintDuration(field.max)));
  }
  settings.*field.member = *value;
  return {};
}

Status Read(const PresetDurationField& field, std::string_view text, Settings& settings) {
  if (text == kAuto) {
    settings.*field.member = std::nullopt;
    return {};
  }
  const auto value = ParseDuration(text);
  if (!value) return tl::make_unexpected(value.error());
  if (*value < field.min || *value > field.max) {
    return Invalid(fmt::format("{} is out of range: {} to {}, or {}", text,
                               PrintDuration(field.min), PrintDuration(field.max), kAuto));
  }
  settings.*field.member = *value;
  return {};
}

Status Read(const SwitchField& field, std::string_view text, Settings& settings) {
  const std::string lowered = Lowered(text);
  const bool on = lowered == "on" || lowered == "true" || lowered == "yes" || lowered == "1";
  const bool off = lowered == "off" || lowered == "false" || lowered == "no" || lowered == "0";
  if (!on && !off) return Invalid(fmt::format("'{}' is neither on nor off", text));
  settings.*field.member = on;
  return {};
}

Status Read(const ChoiceField& field, std::string_view text, Settings& settings) {
  if (std::find(field.choices.begin(), field.choices.end(), text) == field.choices.end()) {
    return Invalid(fmt::format("'{}' is not supported; choose {}", text,
                               fmt::join(field.choices, field.choices.size() > 2 ? ", " : " or ")));
  }
  settings.*field.member = text;
  return {};
}

Status Read(const TextField& field, std::string_view text, Settings& settings) {
  settings.*field.member = text;
  return {};
}

Status Read(const CustomField& field, std::string_view text, Settings& settings) {
  return field.parse(text, settings);
}

std::string Show(const CountField& field, const Settings& settings) {
  const std::uint64_t value = settings.*field.member;
  return value == 0 && !field.zero_word.empty() ? std::string(field.zero_word)
                                                : fmt::to_string(value);
}
std::string Show(const BytesField& field, const Settings& settings) {
  const std::uint64_t value = settings.*field.member;
  return value == 0 && !field.zero_word.empty() ? std::string(field.zero_word)
                                                : PrintByteSize(value);
}
std::string Show(const DurationField& field, const Settings& settings) {
  return PrintDuration(settings.*field.member);
}
std::string Show(const PresetDurationField& field, const Settings& settings) {
  const auto& value = settings.*field.member;
  return value ? PrintDuration(*value) : std::string(kAuto);
}
std::string Show(const SwitchField& field, const Settings& settings) {
  return settings.*field.member ? "on" : "off";
}
std::string Show(const ChoiceField& field, const Settings& settings) {
  return settings.*field.member;
}
std::string Show(const TextField& field, const Settings& settings) {
  return settings.*field.member;
}
std::string Show(const CustomField& field, const Settings& settings) {
  return field.print(settings);
}

std::string Bounds(const std::string& min, const std::string& max, std::string_view zero_word) {
  return fmt::format("{} to {}{}{}", min, max, zero_word.empty() ? "" : ", or ", zero_word);
}
std::string Describe(const CountField& field) {
  return Bounds(fmt::to_string(field.min), fmt::to_string(field.max), field.zero_word);
}
std::string Describe(const BytesField& field) {
  return Bounds(PrintByteSize(field.min), PrintByteSize(field.max), field.zero_word);
}
std::string Describe(const DurationField& field) {
  return Bounds(PrintDuration(field.min), PrintDuration(field.max), {});
}
std::string Describe(const PresetDurationField& field) {
  return Bounds(PrintDuration(field.min), PrintDuration(field.max), kAuto);
}
std::string Describe(const SwitchField& /*field*/) {
  return "on or off";
}
std::string Describe(const ChoiceField& field) {
  return fmt::format("supported: {}", fmt::join(field.choices, ", "));
}
std::string Describe(const TextField& /*field*/) {
  return {};
}
std::string Describe(const CustomField& /*field*/) {
  return {};
}

// As net::ParseHostPort; a host with brackets of its own could not be printed and read back.
std::optional<net::HostPort> ParseAddress(std::string_view text) {
  const auto address = net::ParseHostPort(text);
  if (!address || address->host.find_first_of("[]") != std::string::npos) return std::nullopt;
  return *address;
}

Status ParseListen(std::string_view text, Settings& settings) {
  const auto address = ParseAddress(text);
  if (!address) {
    return Invalid(fmt::format("'{}' is not an address; write for example 127.0.0.1:6378", text));
  }
  settings.listen = *address;
  return {};
}

Status ParseAdmin(std::string_view text, Settings& settings) {
  const auto address = ParseAddress(text);
  if (!address && text != "off") {
    return Invalid(
        fmt::format("'{}' is not an address; write for example 127.0.0.1:6380, or off", text));
  }
  settings.admin = address;
  return {};
}

Status ParseCodeSetting(std::string_view text, Settings& settings) {
  const auto code = coding::ParseCode(text);
  if (!code) return tl::make_unexpected(code.error());
  settings.code = *code;
  return {};
}

Status ParseReclaimSetting(std::string_view text, Settings& settings) {
  if (auto status = CheckReclaim(text); !status) return status;
  settings.reclaim = text;
  return {};
}

constexpr Duration kColdStartMax = std::chrono::minutes(1);

// "150ms", or "100ms..2s".
Status ParseColdStart(std::string_view text, Settings& settings) {
  if (text == kAuto) {
    settings.cold_start_min = settings.cold_start_max = std::nullopt;
    return {};
  }
  const std::size_t dots = text.find("..");
  const auto min = ParseDuration(text.substr(0, dots));
  if (!min) return tl::make_unexpected(min.error());
  Result<Duration> max = min;
  if (dots != std::string_view::npos) max = ParseDuration(text.substr(dots + 2));
  if (!max) return tl::make_unexpected(max.error());
  if (*min > *max || *min < Duration(0) || *max > kColdStartMax) {
    return Invalid(fmt::format("'{}' is not a time, or a range of times, from 0s to {}", text,
                               PrintDuration(kColdStartMax)));
  }
  settings.cold_start_min = *min;
  settings.cold_start_max = *max;
  return {};
}

std::string PrintColdStart(const Settings& settings) {
  if (!settings.cold_start_min) return std::string(kAuto);
  std::string min = PrintDuration(*settings.cold_start_min);
  if (settings.cold_start_min == settings.cold_start_max) return min;
  return fmt::format("{}..{}", min, PrintDuration(*settings.cold_start_max));
}

template <std::string Settings::* kMember>
Status ParseInterval(std::string_view text, Settings& settings) {
  if (auto status = CheckInterval(text); !status) return status;
  settings.*kMember = text;
  return {};
}

constexpr std::string_view kClients = "Clients";
constexpr std::string_view kNodes = "Nodes";
constexpr std::string_view kObjects = "Objects";
constexpr std::string_view kProcess = "Process";

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr SettingSpec kSpecs[] = {
    {"listen", kClients, "ADDRESS", "where Redis clients connect",
     CustomField{ParseListen, [](const Settings& s) { return s.listen.ToString(); }}},
    {"admin", kClients, "ADDRESS", "where the admin HTTP interface listens, or off",
     CustomField{ParseAdmin,
                 [](const Settings& s) { return s.admin ? s.admin->ToString() : "off"; }}},
    {"max-clients", kClients, "COUNT", "clients at the same time; further ones are refused",
     CountField{&Settings::max_clients, 1, 1'000'000, {}}},
    {"client-timeout", kClients, "DURATION",
     "a client that moves no byte of a request under way for so long is closed",
     DurationField{&Settings::client_timeout, seconds(1), hours(24)}},
    {"password", kClients, "TEXT",
     "what clients must send with AUTH; empty: none. Other users of the machine see it on the "
     "command line: prefer password-file",
     TextField{&Settings::password}, true},
    {"password-file", kClients, "FILE", "file whose first line is the password",
     TextField{&Settings::password_file}},

    {"platform", kNodes, "NAME", "where nodes run", ChoiceField{&Settings::platform, kPlatforms}},
    {"nodes", kNodes, "COUNT", "nodes in the pool", CountField{&Settings::nodes, 1, kNodesMax, {}}},
    {"node-memory", kNodes, "SIZE", "memory for chunks in each node",
     BytesField{&Settings::node_memory, 4 * kMiB, 4 * kTiB, {}}},
    {"node-bandwidth", kNodes, "SIZE", "bytes per second, at most, of each link to a node",
     BytesField{&Settings::node_bandwidth, 64 * kKiB, kTiB, "unlimited"}},
    {"node-timeout", kNodes, "DURATION", "a node that does not answer for so long is passed over",
     DurationField{&Settings::node_timeout, milliseconds(50), minutes(10)}},
    {"node-program", kNodes, "FILE",
     "the program that a local node runs; empty: infinicache-node beside this program, or on PATH",
     TextField{&Settings::node_program}},
    {"node-survival", kNodes, "DURATION",
     "how long nodes outlive a server that crashes, for the next one with the same address and "
     "nodes to take them over with all objects; 0s: not at all. They end with a server that stops",
     DurationField{&Settings::node_survival, Duration(0), hours(1)}},
    {"preset", kNodes, "NAME",
     "what local nodes are like: processes that are always there, or functions as a provider runs "
     "them, which sleep between requests",
     ChoiceField{&Settings::preset, kPresets}},
    {"billing-quantum", kNodes, "DURATION",
     "a session's duration is billed in multiples of it, and its end aims at one; auto: the "
     "preset's",
     PresetDurationField{&Settings::billing_quantum, Duration(0), minutes(1)}},
    {"session-max", kNodes, "DURATION",
     "a longer session is ended by force, and its instance with it; auto: the preset's",
     PresetDurationField{&Settings::session_max, milliseconds(100), hours(24)}},
    {"warm-up", kNodes, "INTERVAL",
     "how often a sleeping node that holds something is invoked so that its instance stays: off, "
     "adaptive, or a fixed time as 1m; auto: adaptive where the preset's nodes sleep",
     CustomField{ParseInterval<&Settings::warm_up>, [](const Settings& s) { return s.warm_up; }}},
    {"backup", kNodes, "INTERVAL",
     "how often a node that has changed sends its changes to a second instance, which goes on if "
     "the first is reclaimed: off, adaptive, or a fixed time as 5m; auto: adaptive where the "
     "preset's instances end without notice",
     CustomField{ParseInterval<&Settings::backup>, [](const Settings& s) { return s.backup; }}},
    {"backup-bandwidth", kNodes, "SIZE", "bytes per second, at most, of one node's backup",
     BytesField{&Settings::backup_bandwidth, 64 * kKiB, kTiB, "unlimited"}},
    {"wake-timeout", kNodes, "DURATION", "what waits for a sleeping node gives it up after so long",
     DurationField{&Settings::wake_timeout, milliseconds(50), minutes(10)}},
    {"cold-start", kNodes, "DURATION",
     "how long an instance takes to start, beyond what its process takes; a range as "
     "100ms..2s is drawn from; auto: the preset's",
     CustomField{ParseColdStart, PrintColdStart}},
    {"reclaim", kNodes, "MODEL",
     "when instances are taken away, as a provider of functions would: none, idle:10m, "
     "max-life:10m, poisson:6/1h (6 an hour over the pool), spikes:2/5m (2 at once every 5 "
     "minutes) or replay:FILE (lines of seconds and node)",
     CustomField{ParseReclaimSetting, [](const Settings& s) { return s.reclaim; }}},
    {"reclaim-drain", kNodes, "DURATION",
     "a reclaimed instance goes on for so long with what it has, but is not invoked any more; "
     "auto: the preset's",
     PresetDurationField{&Settings::reclaim_drain, Duration(0), minutes(10)}},
    {"reclaim-grace", kNodes, "DURATION",
     "then it has so long to end after SIGTERM; 0s: it is killed without notice; auto: the "
     "preset's",
     PresetDurationField{&Settings::reclaim_grace, Duration(0), minutes(10)}},
    {"idle-choice", kNodes, "NAME",
     "which of a node's idle instances an invocation takes: the one that was used latest, as "
     "providers do as a rule, or earliest, or a random one",
     ChoiceField{&Settings::idle_choice, kIdleChoices}},
    {"nodes-per-host", kNodes, "COUNT",
     "so many nodes share a simulated host, and are reclaimed together",
     CountField{&Settings::nodes_per_host, 1, kNodesMax, {}}},
    {"host-bandwidth", kNodes, "SIZE",
     "bytes per second, at most, of all nodes of a host together, both ways",
     BytesField{&Settings::host_bandwidth, 64 * kKiB, kTiB, "unlimited"}},
    {"price", kNodes, "NAME",
     "what the nodes are billed by, of `infinicache prices`; auto: the "
     "preset's",
     TextField{&Settings::price}},
    {"provisioned-price", kNodes, "NAME", "the price of the same memory elsewhere, to compare with",
     TextField{&Settings::provisioned_price}},
    {"price-file", kNodes, "FILE", "a price table of your own; empty: the built-in one",
     TextField{&Settings::price_file}},

    {"code", kObjects, "D+P",
     "erasure code of large objects: d data and p parity chunks, each on another node; any d of "
     "them give the object back. p = 0 protects nothing",
     CustomField{ParseCodeSetting, [](const Settings& s) { return s.code.ToString(); }}},
    {"max-object-size", kObjects, "SIZE", "larger values are refused",
     BytesField{&Settings::max_object_size, kKiB, kTiB, {}}},
    {"parity-min", kObjects, "COUNT",
     "parity chunks that must be stored before a write is answered; repair adds the others. "
     "Counts for codes with p > 1",
     CountField{&Settings::parity_min, 0, kCodeWidthMax - 1, {}}},
    {"repair", kObjects, "SWITCH", "re-create lost chunks in the background",
     SwitchField{&Settings::repair}},
    {"repair-bandwidth", kObjects, "SIZE", "bytes per second, at most, that repair re-creates",
     BytesField{&Settings::repair_bandwidth, 64 * kKiB, kTiB, "unlimited"}},
    {"repair-concurrency", kObjects, "COUNT",
     "objects that are repaired at the same time; auto: one per thread",
     CountField{&Settings::repair_concurrency, 1, 256, "auto"}},
    {"maxmemory-policy", kObjects, "NAME",
     "which objects leave when a write finds no room; noeviction: none, the write is refused",
     ChoiceField{&Settings::maxmemory_policy, kEvictionPolicies}},

    {"threads", kProcess, "COUNT", "threads that serve clients; auto: one per core",
     CountField{&Settings::threads, 1, 256, "auto"}},
    {"proxy-memory", kProcess, "SIZE",
     "memory for objects on their way through the server, of all threads; auto: 32MiB per thread",
     BytesField{&Settings::proxy_memory, kMemoryPerThreadMin, kTiB, "auto"}},
    {"shared-memory", kProcess, "SWITCH",
     "with nodes that always stand, the server reads and writes chunks in their memory by itself; "
     "off: over their links, as with nodes elsewhere",
     SwitchField{&Settings::shared_memory}},
    {"log-level", kProcess, "LEVEL", "how much is logged, on the standard error stream",
     ChoiceField{&Settings::log_level, kLogLevels}},
    {"stop-grace", kProcess, "DURATION", "time that clients and nodes have to end at a stop",
     DurationField{&Settings::stop_grace, seconds(0), hours(1)}},
    {"test-hooks", kProcess, "SWITCH", "commands that break stored data on purpose; for tests",
     SwitchField{&Settings::test_hooks}},
};

constexpr auto kNames = [] {
  std::array<std::string_view, std::size(kSpecs)> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kSpecs[i].name;
  return names;
}();

}  // namespace

Status SettingSpec::Parse(std::string_view text, Settings& settings) const {
  // A line feed or a zero byte would break every place where the value is shown or passed on.
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }))
    return Invalid("a control character is not allowed");
  return std::visit([&](const auto& typed) { return Read(typed, text, settings); }, field);
}

std::string SettingSpec::Print(const Settings& settings) const {
  return std::visit([&](const auto& typed) { return Show(typed, settings); }, field);
}

std::string SettingSpec::Limits() const {
  return std::visit([](const auto& typed) { return Describe(typed); }, field);
}

std::span<const SettingSpec> SettingSpecs() {
  return kSpecs;
}

std::span<const std::string_view> SettingNames() {
  return kNames;
}

const SettingSpec* FindSetting(std::string_view name) {
  const auto* found = std::find_if(std::begin(kSpecs), std::end(kSpecs),
                                   [&](const SettingSpec& spec) { return spec.name == name; });
  return found == std::end(kSpecs) ? nullptr : found;
}

std::string EnvironmentName(std::string_view setting) {
  std::string name = "INFINICACHE_";
  for (unsigned char c : setting) name += c == '-' ? '_' : static_cast<char>(std::toupper(c));
  return name;
}

}  // namespace infinicache::app
