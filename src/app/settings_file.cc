#include "app/settings_file.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <optional>
#include <utility>

#include "app/text_file.h"
#include "base/bytes.h"

namespace infinicache::app {
namespace {

constexpr std::size_t kFileBytesMax = 1 * kMiB;

std::string Place(const std::string& path, const toml::source_region& source) {
  return fmt::format("{}:{}", path, source.begin.line);
}

// A value as a flag would have it; nothing for arrays, tables, fractions and dates.
std::optional<std::string> TextOf(const toml::node& value) {
  if (const auto* text = value.as_string()) return text->get();
  if (const auto* number = value.as_integer()) return fmt::to_string(number->get());
  if (const auto* truth = value.as_boolean()) return truth->get() ? "on" : "off";
  return std::nullopt;
}

std::string WrongForm(const toml::node& value) {
  if (value.is_table()) return "a table; settings have none: write `name = value` lines";
  return "must be a string, a whole number, true or false; write others in quotes, as \"1.5GiB\"";
}

std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

// Cuts `text` into comment lines of at most 100 columns.
std::string Comment(std::string_view text) {
  constexpr std::size_t kColumns = 98;
  std::string lines;
  while (!text.empty()) {
    std::size_t length = text.size();
    if (length > kColumns) length = text.rfind(' ', kColumns);
    if (length == std::string_view::npos) length = text.size();
    lines += fmt::format("# {}\n", text.substr(0, length));
    text.remove_prefix(std::min(text.size(), length + 1));
  }
  return lines;
}

}  // namespace

SettingsFile ParseSettingsFile(std::string_view toml, const std::string& path) {
  SettingsFile file;
  toml::table table;
  try {
    table = toml::parse(toml, path);
  } catch (const toml::parse_error& error) {
    file.problems.push_back(
        fmt::format("{}: {}", Place(path, error.source()), error.description()));
    return file;
  }
  // The table is in order of names; problems are easier to mend in the file's order.
  std::vector<std::pair<std::uint64_t, SettingText>> found;
  for (const auto& [key, value] : table) {
    const auto text = TextOf(value);
    found.emplace_back(key.source().begin.line,
                       SettingText{std::string(key.str()),
                                   text.value_or(""),
                                   {Origin::Kind::kFile, Place(path, key.source())},
                                   text ? "" : WrongForm(value)});
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [line, text] : found) file.texts.push_back(std::move(text));
  return file;
}

SettingsFile ReadSettingsFile(const std::string& path) {
  const auto text = ReadTextFile(path, kFileBytesMax);
  if (!text) return {{}, {text.error().message}};
  return ParseSettingsFile(*text, path);
}

std::string SettingLine(const SettingSpec& spec, const Settings& settings) {
  const std::string text = spec.Print(settings);
  const bool bare = spec.IsCount() && text.find_first_not_of("0123456789") == std::string::npos;
  return fmt::format("{} = {}", spec.name, bare ? text : Quoted(text));
}

std::string SettingsTemplate() {
  std::string file =
      "# Settings of `infinicache serve`. Each line below shows a default: remove its '#' to "
      "change it.\n"
      "# A flag (--name) goes before the environment (INFINICACHE_NAME), and that before this "
      "file.\n";
  const Settings defaults;
  std::string_view group;
  for (const SettingSpec& spec : SettingSpecs()) {
    if (spec.group != group) file += fmt::format("\n# --- {} ---\n", spec.group);
    group = spec.group;
    const std::string limits = spec.Limits();
    std::string help(spec.help);
    help[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(help[0])));
    file += "\n" + Comment(limits.empty() ? help + "." : fmt::format("{} ({}).", help, limits));
    file += fmt::format("#{}\n", SettingLine(spec, defaults));
  }
  return file;
}

}  // namespace infinicache::app
