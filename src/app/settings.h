// The settings of `infinicache serve`: one declarative table.
//
// A row gives a setting's name and all that follows from it: the flag `--name`, the key `name` of
// the TOML file, the environment variable INFINICACHE_NAME, its lines in --help and in `config
// init`, and how its text is checked. A flag goes before the environment, that before the file, and
// that before the default. Nothing unknown is ignored: a key or variable that is not in the table
// is a problem, with the nearest known name.
//
// Thread-safety: values; LoadSettings reads one file and is otherwise pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "coding/code.h"
#include "net/socket.h"

namespace infinicache::app {

struct Settings {
  net::HostPort listen{"127.0.0.1", 6378};
  std::optional<net::HostPort> admin = net::HostPort{"127.0.0.1", 6380};  // nothing: off
  std::uint64_t max_clients = 10000;
  Duration client_timeout = std::chrono::seconds(60);
  std::string password;
  std::string password_file;

  std::string platform = "local";
  std::uint64_t nodes = 16;
  std::uint64_t node_memory = 512 * kMiB;
  std::uint64_t node_bandwidth = 0;  // bytes per second and link; 0: unlimited
  Duration node_timeout = std::chrono::seconds(5);
  std::string node_program;                           // empty: beside our own
  Duration node_survival = std::chrono::seconds(60);  // 0: nodes end with the server
  std::string preset = "always-on";
  // Nothing: as the preset has it.
  std::optional<Duration> billing_quantum;
  std::optional<Duration> session_max;
  std::optional<Duration> reclaim_drain;
  std::optional<Duration> reclaim_grace;  // 0: without notice
  std::optional<Duration> cold_start_min;
  std::optional<Duration> cold_start_max;
  std::string reclaim = "none";  // app/reclaim_setting.h
  std::string idle_choice = "latest";
  std::uint64_t nodes_per_host = 1;
  std::uint64_t host_bandwidth = 0;  // bytes per second of a host; 0: unlimited
  Duration wake_timeout = std::chrono::seconds(5);
  std::string warm_up = "auto";                // app/preset_setting.h
  std::string backup = "auto";                 // app/preset_setting.h
  std::uint64_t backup_bandwidth = 64 * kMiB;  // bytes per second of a round; 0: unlimited
  std::string price = "auto";
  std::string provisioned_price = "elasticache-r5.24xlarge";
  std::string price_file;  // empty: the built-in table

  coding::Code code;
  std::uint64_t max_object_size = 2 * kGiB;
  std::uint64_t parity_min = 1;
  bool repair = true;
  std::uint64_t repair_bandwidth = 0;    // bytes per second; 0: unlimited
  std::uint64_t repair_concurrency = 0;  // 0: one per thread
  std::string maxmemory_policy = "allkeys-s3fifo";

  std::uint64_t threads = 0;       // 0: one per core
  std::uint64_t proxy_memory = 0;  // of all threads in sum; 0: kMemoryPerThread for each
  std::string log_level = "info";
  Duration stop_grace = std::chrono::seconds(2);
  bool shared_memory = true;
  bool test_hooks = false;

  // What "auto" stands for; at least 1.
  std::uint64_t EffectiveThreads() const;
  std::uint64_t ProxyMemoryPerThread() const;
  // parity_min is a wish; a code with less parity has less.
  std::uint64_t EffectiveParityMin() const;
};

// Large enough for several reads and writes at full speed: a row of 10+2 is 768 KiB.
inline constexpr std::uint64_t kMemoryPerThread = 32 * kMiB;
// One row of the widest code.
inline constexpr std::uint64_t kMemoryPerThreadMin = 4 * kMiB;

// The kinds of values. Limits are inclusive; `zero_word`, if there is one, is what people write for
// the value 0, which is then allowed beside the limits.
struct CountField {
  std::uint64_t Settings::* member;
  std::uint64_t min = 0;
  std::uint64_t max = 0;
  std::string_view zero_word;
};
struct BytesField {
  std::uint64_t Settings::* member;
  std::uint64_t min = 0;
  std::uint64_t max = 0;
  std::string_view zero_word;
};
struct DurationField {
  Duration Settings::* member;
  Duration min{0};
  Duration max{0};
};
struct PresetDurationField {  // "auto": as the preset has it
  std::optional<Duration> Settings::* member;
  Duration min{0};
  Duration max{0};
};
struct SwitchField {
  bool Settings::* member;
};
struct ChoiceField {
  std::string Settings::* member;
  std::span<const std::string_view> choices;
};
struct TextField {
  std::string Settings::* member;
};
struct CustomField {
  Status (*parse)(std::string_view text, Settings& settings);
  std::string (*print)(const Settings& settings);
};
using SettingField = std::variant<CountField, BytesField, DurationField, PresetDurationField,
                                  SwitchField, ChoiceField, TextField, CustomField>;

struct SettingSpec {
  std::string_view name;
  std::string_view group;       // heading in --help and in the file
  std::string_view value_name;  // "ADDRESS"
  std::string_view help;
  SettingField field;
  bool secret = false;  // its value is never printed

  // Reads `text` into the settings. Errors: kInvalidArgument, without the setting's name.
  Status Parse(std::string_view text, Settings& settings) const;
  // A text that Parse reads back to the same value.
  std::string Print(const Settings& settings) const;
  // "1 to 4096", "on or off"; empty where the help says it all.
  std::string Limits() const;
  bool IsSwitch() const { return std::holds_alternative<SwitchField>(field); }
  // True if the value is a bare number in TOML.
  bool IsCount() const { return std::holds_alternative<CountField>(field); }
};

// All settings, those of one group together.
std::span<const SettingSpec> SettingSpecs();
// The names of all settings, in the same order.
std::span<const std::string_view> SettingNames();
// The row of `name`, or null.
const SettingSpec* FindSetting(std::string_view name);
// "node-memory" -> "INFINICACHE_NODE_MEMORY"
std::string EnvironmentName(std::string_view setting);

// Where a value comes from. Later kinds go before earlier ones.
struct Origin {
  enum class Kind : std::uint8_t { kDefault, kFile, kEnvironment, kFlag };
  Kind kind = Kind::kDefault;
  std::string place = "default";  // "default", "infinicache.toml:3", "INFINICACHE_NODES", "--nodes"
};

// A setting as somebody wrote it.
struct SettingText {
  std::string name;
  std::string text;
  Origin origin;
  std::string problem = {};  // why there is no usable text, if there is none
};

struct LoadedSettings {
  Settings values;
  std::vector<Origin> origins = std::vector<Origin>(SettingSpecs().size());  // by row
  // What is wrong, each with its place; the values may be used only if this is empty.
  std::vector<std::string> problems;

  const Origin& OriginOf(std::string_view name) const;
  bool IsDefault(std::string_view name) const {
    return OriginOf(name).kind == Origin::Kind::kDefault;
  }
};

struct SettingsInput {
  std::string config_file;               // of --config; empty: that of INFINICACHE_CONFIG, or none
  std::vector<std::string> environment;  // "NAME=value", all of it
  std::vector<std::pair<std::string, std::string>> flags;  // name of the setting, text
};

LoadedSettings LoadSettings(const SettingsInput& input);
// The settings of one file alone: what `config check` looks at.
LoadedSettings LoadSettingsFile(const std::string& path);

// Applies what `texts` say; what is wrong joins the problems.
void ApplySettings(std::span<const SettingText> texts, LoadedSettings& loaded);
// Adds the problems of values that are right one by one, but not together.
void CheckTogether(LoadedSettings& loaded);

// The password of the settings, from its file if one is named: the first line. Errors:
// kInvalidArgument (unreadable, empty).
Result<std::string> ReadPassword(const Settings& settings);

// The environment of this process.
std::vector<std::string> ProcessEnvironment();

}  // namespace infinicache::app
