#include "app/settings.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <initializer_list>

#include "app/nearest_name.h"
#include "app/preset_setting.h"
#include "app/settings_file.h"
#include "app/text_file.h"

namespace infinicache::app {
namespace {

constexpr std::string_view kEnvironmentPrefix = "INFINICACHE_";
constexpr std::string_view kConfigVariable = "INFINICACHE_CONFIG";
constexpr std::size_t kPasswordFileBytesMax = 64 * kKiB;

// Variables with our prefix that are no settings: of the node program and of the test suite.
bool IsForeignVariable(std::string_view name) {
  return name == kConfigVariable || name == "INFINICACHE_NODE_SECRET" ||
         name == "INFINICACHE_BIN_DIR" || name.starts_with("INFINICACHE_TEST_");
}

// "INFINICACHE_NODE_MEMORY" -> "node-memory"
std::string SettingNameOf(std::string_view variable) {
  std::string name(variable.substr(kEnvironmentPrefix.size()));
  for (char& c : name) {
    if (c == '_') {
      c = '-';
    } else if (c >= 'A' && c <= 'Z') {
      c = static_cast<char>(c - 'A' + 'a');
    }
  }
  return name;
}

std::size_t IndexOf(std::string_view name) {
  const auto names = SettingNames();
  return static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

std::string UnknownSetting(const SettingText& setting) {
  const std::string_view nearest = NearestName(setting.name, SettingNames());
  if (setting.origin.kind == Origin::Kind::kEnvironment) {
    return nearest.empty() ? fmt::format("{}: no such setting; `infinicache config init` lists all",
                                         setting.origin.place)
                           : fmt::format("{}: no such setting; did you mean {}?",
                                         setting.origin.place, EnvironmentName(nearest));
  }
  return nearest.empty() ? fmt::format("{}: unknown key '{}'; `infinicache config init` lists all",
                                       setting.origin.place, setting.name)
                         : fmt::format("{}: unknown key '{}'; did you mean '{}'?",
                                       setting.origin.place, setting.name, nearest);
}

std::vector<SettingText> FromEnvironment(std::span<const std::string> environment) {
  std::vector<SettingText> texts;
  for (std::string_view entry : environment) {
    const std::string_view variable = entry.substr(0, entry.find('='));
    if (!variable.starts_with(kEnvironmentPrefix) || variable.size() == entry.size()) continue;
    if (IsForeignVariable(variable)) continue;
    texts.push_back({SettingNameOf(variable),
                     std::string(entry.substr(variable.size() + 1)),
                     {Origin::Kind::kEnvironment, std::string(variable)}});
  }
  return texts;
}

std::string ConfigFileOf(const SettingsInput& input) {
  if (!input.config_file.empty()) return input.config_file;
  for (std::string_view entry : input.environment) {
    if (entry.starts_with(kConfigVariable) && entry.substr(kConfigVariable.size()).starts_with('='))
      return std::string(entry.substr(kConfigVariable.size() + 1));
  }
  return {};
}

// A problem of several settings is blamed on the one that was said most explicitly.
void AddProblem(LoadedSettings& loaded, std::initializer_list<std::string_view> settings,
                const std::string& message) {
  const Origin* blamed = nullptr;
  for (std::string_view name : settings) {
    const Origin& origin = loaded.OriginOf(name);
    if (blamed == nullptr || origin.kind > blamed->kind) blamed = &origin;
  }
  loaded.problems.push_back(blamed->kind == Origin::Kind::kDefault
                                ? message
                                : fmt::format("{}: {}", blamed->place, message));
}

void CheckCode(LoadedSettings& loaded) {
  const Settings& values = loaded.values;
  if (values.code.width() > values.nodes) {
    AddProblem(loaded, {"code", "nodes"},
               fmt::format("code {} needs {} nodes, but nodes = {}: use --nodes {} or a narrower "
                           "--code",
                           values.code.ToString(), values.code.width(), values.nodes,
                           values.code.width()));
  }
  if (!loaded.IsDefault("parity-min") && values.parity_min > values.code.parity) {
    AddProblem(loaded, {"parity-min", "code"},
               fmt::format("parity-min = {}, but code {} has {} parity chunks: lower parity-min "
                           "or widen the code",
                           values.parity_min, values.code.ToString(), values.code.parity));
  }
}

void CheckAddresses(LoadedSettings& loaded) {
  const Settings& values = loaded.values;
  if (values.admin && values.listen == *values.admin && values.listen.port != 0) {
    AddProblem(loaded, {"admin", "listen"},
               fmt::format("listen and admin are both {}: give them different ports",
                           values.listen.ToString()));
  }
  if (!values.password.empty() && !values.password_file.empty()) {
    AddProblem(loaded, {"password", "password-file"},
               "password and password-file are both set: keep one");
  }
}

void CheckBackups(LoadedSettings& loaded) {
  if (auto status = CheckBackupOf(loaded.values); !status)
    AddProblem(loaded, {"backup", "preset"}, status.error().message);
}

void CheckMemory(LoadedSettings& loaded) {
  const Settings& values = loaded.values;
  if (values.ProxyMemoryPerThread() < kMemoryPerThreadMin) {
    AddProblem(loaded, {"proxy-memory", "threads"},
               fmt::format("proxy-memory is {} for {} threads: each needs {} at least, so use {} "
                           "or fewer threads",
                           FormatByteSize(values.proxy_memory), values.EffectiveThreads(),
                           FormatByteSize(kMemoryPerThreadMin),
                           FormatByteSize(kMemoryPerThreadMin * values.EffectiveThreads())));
  }
}

}  // namespace

std::uint64_t Settings::EffectiveThreads() const {
  if (threads != 0) return threads;
  cpu_set_t usable;
  // Fails where the system has more cores than the set can hold.
  const bool known = sched_getaffinity(0, sizeof(usable), &usable) == 0;
  const long cores = known ? CPU_COUNT(&usable) : sysconf(_SC_NPROCESSORS_ONLN);
  return static_cast<std::uint64_t>(std::clamp(cores, 1L, 256L));
}

std::uint64_t Settings::ProxyMemoryPerThread() const {
  return proxy_memory == 0 ? kMemoryPerThread : proxy_memory / EffectiveThreads();
}

std::uint64_t Settings::EffectiveParityMin() const {
  return std::min<std::uint64_t>(parity_min, code.parity);
}

const Origin& LoadedSettings::OriginOf(std::string_view name) const {
  return origins.at(IndexOf(name));
}

void ApplySettings(std::span<const SettingText> texts, LoadedSettings& loaded) {
  for (const SettingText& setting : texts) {
    if (!setting.problem.empty()) {
      loaded.problems.push_back(
          fmt::format("{}: {}: {}", setting.origin.place, setting.name, setting.problem));
      continue;
    }
    const SettingSpec* spec = FindSetting(setting.name);
    if (spec == nullptr) {
      loaded.problems.push_back(UnknownSetting(setting));
      continue;
    }
    if (auto status = spec->Parse(setting.text, loaded.values); !status) {
      const bool in_file = setting.origin.kind == Origin::Kind::kFile;
      loaded.problems.push_back(fmt::format("{}: {}{}", setting.origin.place,
                                            in_file ? setting.name + ": " : "",
                                            status.error().message));
      continue;
    }
    loaded.origins[IndexOf(setting.name)] = setting.origin;
  }
}

void CheckTogether(LoadedSettings& loaded) {
  CheckCode(loaded);
  CheckAddresses(loaded);
  CheckMemory(loaded);
  CheckBackups(loaded);
}

LoadedSettings LoadSettings(const SettingsInput& input) {
  LoadedSettings loaded;
  if (const std::string path = ConfigFileOf(input); !path.empty()) {
    SettingsFile file = ReadSettingsFile(path);
    loaded.problems = std::move(file.problems);
    ApplySettings(file.texts, loaded);
  }
  ApplySettings(FromEnvironment(input.environment), loaded);
  std::vector<SettingText> flags;
  for (const auto& [name, text] : input.flags)
    flags.push_back({name, text, {Origin::Kind::kFlag, "--" + name}});
  ApplySettings(flags, loaded);
  if (loaded.problems.empty()) CheckTogether(loaded);
  return loaded;
}

LoadedSettings LoadSettingsFile(const std::string& path) {
  return LoadSettings({path, {}, {}});
}

Result<std::string> ReadPassword(const Settings& settings) {
  if (settings.password_file.empty()) return settings.password;
  const auto text = ReadTextFile(settings.password_file, kPasswordFileBytesMax);
  if (!text) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--password-file: {}", text.error().message));
  }
  std::string line = text->substr(0, text->find('\n'));
  if (line.ends_with('\r')) line.pop_back();
  if (line.empty()) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("--password-file: {}: its first line is empty", settings.password_file));
  }
  return line;
}

std::vector<std::string> ProcessEnvironment() {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  return environment;
}

}  // namespace infinicache::app
