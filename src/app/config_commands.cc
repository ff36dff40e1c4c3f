#include "app/config_commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "app/exit_code.h"
#include "app/settings_file.h"

namespace infinicache::app {
namespace {

constexpr std::string_view kMask = "********";

std::string ShownValue(const SettingSpec& spec, const Settings& settings) {
  const std::string value = spec.Print(settings);
  return spec.secret && !value.empty() ? std::string(kMask) : value;
}

}  // namespace

int ConfigInit() {
  fmt::print("{}", SettingsTemplate());
  return kExitOk;
}

int ConfigCheck(const std::string& path) {
  const LoadedSettings loaded = LoadSettingsFile(path);
  if (!loaded.problems.empty()) return ReportProblems(loaded, "");
  const auto set = std::count_if(loaded.origins.begin(), loaded.origins.end(),
                                 [](const auto& o) { return o.kind != Origin::Kind::kDefault; });
  fmt::print("{}: no problem; sets {} of {} settings\n", path, set, loaded.origins.size());
  return kExitOk;
}

int ConfigShow(const LoadedSettings& loaded, bool json) {
  const auto specs = SettingSpecs();
  if (json) {
    boost::json::object settings;
    for (std::size_t i = 0; i < specs.size(); ++i) {
      settings[specs[i].name] = {{"value", ShownValue(specs[i], loaded.values)},
                                 {"origin", loaded.origins[i].place}};
    }
    fmt::print("{}\n", boost::json::serialize(settings));
    return kExitOk;
  }
  std::size_t name_width = 0;
  std::size_t value_width = 0;
  for (const SettingSpec& spec : specs) {
    name_width = std::max(name_width, spec.name.size());
    value_width = std::max(value_width, ShownValue(spec, loaded.values).size());
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    fmt::print("{:{}}  {:{}}  {}\n", specs[i].name, name_width, ShownValue(specs[i], loaded.values),
               value_width, loaded.origins[i].place);
  }
  return kExitOk;
}

int ReportProblems(const LoadedSettings& loaded, std::string_view prefix) {
  for (const std::string& problem : loaded.problems) fmt::print(stderr, "{}{}\n", prefix, problem);
  return kExitUsage;
}

}  // namespace infinicache::app
