// Any bytes as a settings file, and as the text of one setting: no crash, every problem names its
// place, and what was accepted is printed as a text that is accepted again, for the same value.
#include <cstdint>
#include <string_view>

#include "app/settings.h"
#include "app/settings_file.h"
#include "base/check.h"

namespace infinicache::app {
namespace {

void CheckReadBack(const SettingSpec& spec, Settings settings) {
  const std::string text = spec.Print(settings);
  const Status status = spec.Parse(text, settings);
  CHECK(status.has_value(), "{} = {}: {}", spec.name, text, status.error().message);
  CHECK(spec.Print(settings) == text, "{} = {}", spec.name, text);
}

void CheckLine(const SettingSpec& spec, const Settings& settings) {
  const std::string text = spec.Print(settings);
  const SettingsFile file = ParseSettingsFile(SettingLine(spec, settings), "line");
  CHECK(file.problems.empty() && file.texts.size() == 1, "{} = {}", spec.name, text);
  CHECK(file.texts[0].text == text, "{} = {}", spec.name, text);
}

void FuzzFile(std::string_view toml) {
  LoadedSettings loaded;
  SettingsFile file = ParseSettingsFile(toml, "fuzz.toml");
  loaded.problems = std::move(file.problems);
  ApplySettings(file.texts, loaded);
  CheckTogether(loaded);
  for (const std::string& problem : loaded.problems)
    CHECK(problem.starts_with("fuzz.toml:"), "{}", problem);
  for (const SettingSpec& spec : SettingSpecs()) {
    CheckReadBack(spec, loaded.values);
    CheckLine(spec, loaded.values);
  }
}

// The first byte chooses the setting.
void FuzzText(std::string_view data) {
  if (data.empty()) return;
  const auto choice = static_cast<unsigned char>(data.front());
  const SettingSpec& spec = SettingSpecs()[choice % SettingSpecs().size()];
  Settings settings;
  if (spec.Parse(data.substr(1), settings)) CheckReadBack(spec, settings);
}

}  // namespace
}  // namespace infinicache::app

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  infinicache::app::FuzzFile(bytes);
  infinicache::app::FuzzText(bytes);
  return 0;
}
