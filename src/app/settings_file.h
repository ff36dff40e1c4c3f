// Settings as a TOML file: `name = value`, one per line, no tables.
//
// Thread-safety: pure, but for ReadSettingsFile, which reads the file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "app/settings.h"

namespace infinicache::app {

struct SettingsFile {
  std::vector<SettingText> texts;     // in the file's order, each with "path:line" as its origin
  std::vector<std::string> problems;  // "path:line: what is wrong": not TOML, or not readable
};

// Reads TOML. Names and values are not looked at, only their form: a string, a number, true or
// false.
SettingsFile ParseSettingsFile(std::string_view toml, const std::string& path);

// The same of a file. A file that cannot be read is a problem.
SettingsFile ReadSettingsFile(const std::string& path);

// A file of all settings, explained and commented out, each with its default.
std::string SettingsTemplate();

// The line `name = value` of a setting, without a line feed.
std::string SettingLine(const SettingSpec& spec, const Settings& settings);

}  // namespace infinicache::app
