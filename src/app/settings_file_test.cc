#include "app/settings_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace infinicache::app {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

LoadedSettings Load(std::string_view toml) {
  LoadedSettings loaded;
  SettingsFile file = ParseSettingsFile(toml, "f.toml");
  loaded.problems = std::move(file.problems);
  ApplySettings(file.texts, loaded);
  return loaded;
}

// The template with every setting in force.
std::string Uncommented(const std::string& file) {
  std::istringstream lines(file);
  std::string line;
  std::string result;
  while (std::getline(lines, line)) {
    const bool setting = line.size() > 1 && line[0] == '#' && line[1] != ' ';
    result += (setting ? line.substr(1) : line) + "\n";
  }
  return result;
}

TEST(SettingsTemplate, SetsNothingAsItIs) {
  const SettingsFile file = ParseSettingsFile(SettingsTemplate(), "f.toml");
  EXPECT_THAT(file.problems, IsEmpty());
  EXPECT_THAT(file.texts, IsEmpty());
}

TEST(SettingsTemplate, HoldsEverySettingWithItsDefault) {
  const LoadedSettings loaded = Load(Uncommented(SettingsTemplate()));
  ASSERT_THAT(loaded.problems, IsEmpty());
  const Settings defaults;
  for (const SettingSpec& spec : SettingSpecs()) {
    EXPECT_FALSE(loaded.IsDefault(spec.name)) << spec.name << " is not in the file";
    EXPECT_EQ(spec.Print(loaded.values), spec.Print(defaults)) << spec.name;
  }
}

TEST(SettingsTemplate, KeepsWithinAHundredColumns) {
  std::istringstream lines(SettingsTemplate());
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
}

TEST(SettingLine, IsReadBackToTheSameValue) {
  Settings settings;
  settings.password = R"(quote " and \ backslash)";
  const SettingSpec& spec = *FindSetting("password");
  EXPECT_EQ(SettingLine(spec, settings), R"(password = "quote \" and \\ backslash")");
  EXPECT_EQ(Load(SettingLine(spec, settings)).values.password, settings.password);
  EXPECT_EQ(SettingLine(*FindSetting("nodes"), settings), "nodes = 16");
  EXPECT_EQ(SettingLine(*FindSetting("threads"), settings), "threads = \"auto\"");
}

TEST(ParseSettingsFile, TakesStringsNumbersAndTruthValues) {
  const LoadedSettings loaded = Load(
      "nodes = 20\nthreads = '3'\nnode-memory = \"1GiB\"\nmax-object-size = 1_000_000\n"
      "repair = false\ntest-hooks = true\n");
  ASSERT_THAT(loaded.problems, IsEmpty());
  EXPECT_EQ(loaded.values.nodes, 20U);
  EXPECT_EQ(loaded.values.threads, 3U);
  EXPECT_EQ(loaded.values.node_memory, kGiB);
  EXPECT_EQ(loaded.values.max_object_size, 1'000'000U);
  EXPECT_FALSE(loaded.values.repair);
  EXPECT_TRUE(loaded.values.test_hooks);
}

TEST(ParseSettingsFile, NamesTheLineOfEveryProblemInTheFilesOrder) {
  EXPECT_THAT(Load("threads = 0\nnodes = 1.5\ncode = [10, 2]\n\n[server]\nnodes = 3\n").problems,
              ElementsAre("f.toml:1: threads: 0 is out of range: 1 to 256",
                          "f.toml:2: nodes: must be a string, a whole number, true or false; write "
                          "others in quotes, as \"1.5GiB\"",
                          testing::StartsWith("f.toml:3: code: must be a string"),
                          testing::StartsWith("f.toml:5: server: a table; settings have none")));
}

TEST(ParseSettingsFile, NamesTheLineWhereItIsNoToml) {
  EXPECT_THAT(Load("nodes = 16\nnodes = 17\n").problems,
              ElementsAre(testing::StartsWith("f.toml:2: ")));
  EXPECT_THAT(Load("nodes = 16\n\ncode = \n").problems,
              ElementsAre(testing::StartsWith("f.toml:3: ")));
  EXPECT_THAT(Load("password = \"\xff\"\n").problems, testing::SizeIs(1));
}

}  // namespace
}  // namespace infinicache::app
