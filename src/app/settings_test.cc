#include "app/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "app/duration.h"
#include "app/files_for_test.h"
#include "base/limits.h"
#include "base/log.h"

namespace infinicache::app {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// What `name` prints after one flag.
std::string AfterFlag(const std::string& name, const std::string& text) {
  const LoadedSettings loaded = LoadSettings({{}, {}, {{name, text}}});
  return loaded.problems.empty() ? FindSetting(name)->Print(loaded.values)
                                 : loaded.problems.front();
}

std::vector<std::string> ProblemsOfFlags(std::vector<std::pair<std::string, std::string>> flags) {
  return LoadSettings({{}, {}, std::move(flags)}).problems;
}

std::vector<std::string> ProblemsOfEnvironment(std::vector<std::string> environment) {
  return LoadSettings({{}, std::move(environment), {}}).problems;
}

// --- The table --------------------------------------------------------------------------------

TEST(SettingSpecs, HaveDistinctNamesThatFitEverySource) {
  std::set<std::string> variables;
  for (const SettingSpec& spec : SettingSpecs()) {
    EXPECT_THAT(std::string(spec.name), testing::MatchesRegex("[a-z]+(-[a-z]+)*"));
    EXPECT_TRUE(variables.insert(EnvironmentName(spec.name)).second) << spec.name;
    EXPECT_FALSE(spec.help.empty()) << spec.name;
    EXPECT_EQ(FindSetting(spec.name), &spec);
  }
  EXPECT_EQ(EnvironmentName("node-memory"), "INFINICACHE_NODE_MEMORY");
  EXPECT_EQ(FindSetting("nothing"), nullptr);
}

TEST(SettingSpecs, OfAGroupStandTogether) {
  std::set<std::string_view> left;
  std::string_view group;
  for (const SettingSpec& spec : SettingSpecs()) {
    if (spec.group == group) continue;
    EXPECT_TRUE(left.insert(spec.group).second) << spec.group << " appears twice";
    group = spec.group;
  }
}

TEST(SettingSpecs, PrintTheirDefaultAsATextThatTheyReadBack) {
  for (const SettingSpec& spec : SettingSpecs()) {
    Settings settings;
    const std::string text = spec.Print(settings);
    EXPECT_TRUE(spec.Parse(text, settings)) << spec.name;
    EXPECT_EQ(spec.Print(settings), text) << spec.name;
  }
}

TEST(SettingSpecs, AcceptBothLimitsAndNothingBeyond) {
  for (const SettingSpec& spec : SettingSpecs()) {
    const auto accepts = [&](const std::string& text) {
      Settings settings;
      return spec.Parse(text, settings).has_value();
    };
    const auto check = [&](std::uint64_t min, std::uint64_t max, bool zero, auto print) {
      EXPECT_TRUE(accepts(print(min))) << spec.name;
      EXPECT_TRUE(accepts(print(max))) << spec.name;
      EXPECT_FALSE(accepts(print(max + 1))) << spec.name;
      if (min > (zero ? 1 : 0)) EXPECT_FALSE(accepts(print(min - 1))) << spec.name;
    };
    if (const auto* count = std::get_if<CountField>(&spec.field)) {
      check(count->min, count->max, !count->zero_word.empty(),
            [](std::uint64_t value) { return std::to_string(value); });
    } else if (const auto* bytes = std::get_if<BytesField>(&spec.field)) {
      check(bytes->min, bytes->max, !bytes->zero_word.empty(),
            [](std::uint64_t value) { return std::to_string(value); });
    } else if (const auto* duration = std::get_if<DurationField>(&spec.field)) {
      const auto millis = [](Duration d) {
        return static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::milliseconds>(d).count());
      };
      check(millis(duration->min), millis(duration->max), false,
            [](std::uint64_t value) { return std::to_string(value) + "ms"; });
    }
  }
}

TEST(SettingSpecs, OfferTheLogLevelsThatExist) {
  const auto& levels = std::get<ChoiceField>(FindSetting("log-level")->field);
  for (std::string_view level : levels.choices) EXPECT_TRUE(SetLogLevel(level)) << level;
  ASSERT_TRUE(SetLogLevel("info"));
}

// --- Values -----------------------------------------------------------------------------------

TEST(Settings, AreReadInTheirUnits) {
  EXPECT_EQ(AfterFlag("listen", "[::1]:7000"), "[::1]:7000");
  EXPECT_EQ(AfterFlag("admin", "off"), "off");
  EXPECT_EQ(AfterFlag("node-memory", "1.5GiB"), "1536MiB");
  EXPECT_EQ(AfterFlag("node-bandwidth", "75MB"), "75MB");
  EXPECT_EQ(AfterFlag("node-bandwidth", "75MB/s"), "75MB");
  EXPECT_EQ(AfterFlag("node-bandwidth", "0"), "unlimited");
  EXPECT_EQ(AfterFlag("client-timeout", "1.5m"), "90s");
  EXPECT_EQ(AfterFlag("code", "4+2"), "4+2");
  EXPECT_EQ(AfterFlag("repair", "No"), "off");
  EXPECT_EQ(AfterFlag("test-hooks", "true"), "on");
  EXPECT_EQ(AfterFlag("threads", "auto"), "auto");
  EXPECT_EQ(AfterFlag("max-object-size", "1000000001"), "1000000001");
}

TEST(Settings, SayWhatIsWrongWithAValue) {
  EXPECT_EQ(AfterFlag("nodes", "0"), "--nodes: 0 is out of range: 1 to 4096");
  EXPECT_EQ(AfterFlag("nodes", "-1"), "--nodes: '-1' is not a whole number");
  EXPECT_EQ(AfterFlag("nodes", ""), "--nodes: '' is not a whole number");
  EXPECT_EQ(AfterFlag("nodes", "99999999999999999999"),
            "--nodes: 99999999999999999999 is out of range: 1 to 4096");
  EXPECT_EQ(AfterFlag("node-memory", "1MiB"), "--node-memory: 1MiB is out of range: 4MiB to 4TiB");
  EXPECT_EQ(AfterFlag("node-memory", "much"),
            "--node-memory: 'much' is not a byte size; write for example 512MiB");
  EXPECT_EQ(AfterFlag("platform", "lambda"), "--platform: 'lambda' is not supported; choose local");
  EXPECT_EQ(AfterFlag("repair", "maybe"), "--repair: 'maybe' is neither on nor off");
  EXPECT_EQ(AfterFlag("node-program", "a\nb"),
            "--node-program: a control character is not allowed");
  EXPECT_EQ(AfterFlag("listen", "a\n:1"), "--listen: a control character is not allowed");
  EXPECT_THAT(AfterFlag("listen", "[[a]]:1"), HasSubstr("is not an address"));
  EXPECT_THAT(AfterFlag("admin", "x"), HasSubstr("or off"));
  EXPECT_THAT(AfterFlag("code", "10"), HasSubstr("such as \"10+2\""));
  EXPECT_THAT(AfterFlag("log-level", "loud"), HasSubstr("trace, debug, info, warn, error, off"));
  EXPECT_THAT(AfterFlag("stop-grace", "5"), HasSubstr("has no unit"));
}

// --- Sources ----------------------------------------------------------------------------------

TEST(LoadSettings, PrefersFlagToEnvironmentToFileToDefault) {
  const FileForTest file("nodes = 21\nthreads = 3\ncode = \"8+2\"\n");
  const LoadedSettings loaded =
      LoadSettings({file.path(),
                    {"PATH=/bin", "INFINICACHE_NODES=22", "INFINICACHE_THREADS=4"},
                    {{"nodes", "23"}}});
  ASSERT_THAT(loaded.problems, IsEmpty());
  EXPECT_EQ(loaded.values.nodes, 23U);
  EXPECT_EQ(loaded.OriginOf("nodes").place, "--nodes");
  EXPECT_EQ(loaded.values.threads, 4U);
  EXPECT_EQ(loaded.OriginOf("threads").place, "INFINICACHE_THREADS");
  EXPECT_EQ(loaded.values.code.ToString(), "8+2");
  EXPECT_EQ(loaded.OriginOf("code").place, file.path() + ":3");
  EXPECT_TRUE(loaded.IsDefault("repair"));
  EXPECT_EQ(loaded.OriginOf("repair").place, "default");
}

TEST(LoadSettings, TakesTheFileThatTheEnvironmentNamesUnlessAFlagDoes) {
  const FileForTest first("nodes = 21\n");
  const FileForTest second("nodes = 22\n");
  const std::vector<std::string> environment = {"INFINICACHE_CONFIG=" + first.path()};
  EXPECT_EQ(LoadSettings({{}, environment, {}}).values.nodes, 21U);
  EXPECT_EQ(LoadSettings({second.path(), environment, {}}).values.nodes, 22U);
}

TEST(LoadSettings, NamesLineAndNearestNameOfAnUnknownKey) {
  const FileForTest file("# comment\nnodes = 16\nnode-memroy = \"1GiB\"\nxyzzy = 1\n");
  EXPECT_THAT(
      LoadSettingsFile(file.path()).problems,
      ElementsAre(file.path() + ":3: unknown key 'node-memroy'; did you mean 'node-memory'?",
                  file.path() + ":4: unknown key 'xyzzy'; `infinicache config init` lists all"));
}

TEST(LoadSettings, NamesTheNearestVariableOfAnUnknownOne) {
  EXPECT_THAT(ProblemsOfEnvironment({"INFINICACHE_NODS=3"}),
              ElementsAre("INFINICACHE_NODS: no such setting; did you mean INFINICACHE_NODES?"));
  EXPECT_THAT(ProblemsOfEnvironment({"INFINICACHE_NODE_MEMROY=1GiB"}),
              ElementsAre(HasSubstr("INFINICACHE_NODE_MEMORY?")));
  EXPECT_THAT(ProblemsOfEnvironment({"INFINICACHE_=3"}), testing::SizeIs(1));
}

TEST(LoadSettings, LeavesVariablesOfOthersAlone) {
  EXPECT_THAT(ProblemsOfEnvironment({"INFINICACHE_NODE_SECRET=s", "INFINICACHE_BIN_DIR=/b",
                                     "INFINICACHE_TEST_SEED=1", "INFINICACHE_CONFIG=", "INFINI=1",
                                     "NODES=0", "INFINICACHE_NODES"}),
              IsEmpty());
}

TEST(LoadSettings, ReportsEveryProblemWithItsPlace) {
  const FileForTest file("nodes = \"many\"\ncode = \"0+2\"\n");
  const LoadedSettings loaded =
      LoadSettings({file.path(), {"INFINICACHE_THREADS=0"}, {{"repair", "?"}}});
  EXPECT_THAT(loaded.problems, ElementsAre(file.path() + ":1: nodes: 'many' is not a whole number",
                                           testing::StartsWith(file.path() + ":2: code: "),
                                           "INFINICACHE_THREADS: 0 is out of range: 1 to 256",
                                           "--repair: '?' is neither on nor off"));
}

TEST(LoadSettings, ReportsAMissingFile) {
  EXPECT_THAT(LoadSettingsFile("/nonexistent/a.toml").problems,
              ElementsAre("/nonexistent/a.toml: No such file or directory"));
}

// --- Values together --------------------------------------------------------------------------

TEST(CheckTogether, RefusesACodeWiderThanThePool) {
  EXPECT_THAT(ProblemsOfFlags({{"nodes", "8"}}),
              ElementsAre("--nodes: code 10+2 needs 12 nodes, but nodes = 8: use --nodes 12 or a "
                          "narrower --code"));
  EXPECT_THAT(ProblemsOfFlags({{"nodes", "12"}}), IsEmpty());
  EXPECT_THAT(ProblemsOfFlags({{"nodes", "1"}, {"code", "1+0"}}), IsEmpty());
}

TEST(CheckTogether, BlamesWhatWasSaidMostExplicitly) {
  const FileForTest file("nodes = 8\n");
  EXPECT_THAT(LoadSettingsFile(file.path()).problems,
              ElementsAre(testing::StartsWith(file.path() + ":1: code 10+2 needs 12 nodes")));
  EXPECT_THAT(LoadSettings({file.path(), {}, {{"code", "8+1"}}}).problems,
              ElementsAre(testing::StartsWith("--code: code 8+1 needs 9 nodes")));
}

TEST(CheckTogether, RefusesMoreParityThanTheCodeHasUnlessItIsTheDefault) {
  EXPECT_THAT(ProblemsOfFlags({{"code", "4+2"}, {"parity-min", "3"}}),
              ElementsAre(HasSubstr("code 4+2 has 2 parity chunks")));
  EXPECT_THAT(ProblemsOfFlags({{"code", "4+2"}, {"parity-min", "2"}}), IsEmpty());
  const LoadedSettings loaded = LoadSettings({{}, {}, {{"code", "4+0"}}});
  EXPECT_THAT(loaded.problems, IsEmpty());
  EXPECT_EQ(loaded.values.EffectiveParityMin(), 0U);
}

TEST(CheckTogether, RefusesOneAddressForTwoListeners) {
  EXPECT_THAT(ProblemsOfFlags({{"admin", "127.0.0.1:6378"}}),
              ElementsAre(HasSubstr("listen and admin are both 127.0.0.1:6378")));
  // Port 0 is a free port for each.
  EXPECT_THAT(ProblemsOfFlags({{"admin", "127.0.0.1:0"}, {"listen", "127.0.0.1:0"}}), IsEmpty());
}

TEST(CheckTogether, RefusesTwoPasswords) {
  const auto problems = ProblemsOfFlags({{"password", "hidden"}, {"password-file", "f"}});
  EXPECT_THAT(problems, ElementsAre(HasSubstr("keep one")));
  EXPECT_THAT(problems.front(), testing::Not(HasSubstr("hidden")));
}

TEST(CheckTogether, RefusesTooLittleMemoryForTheThreads) {
  EXPECT_THAT(ProblemsOfFlags({{"threads", "8"}, {"proxy-memory", "31MiB"}}),
              ElementsAre(HasSubstr("each needs 4 MiB at least, so use 32 MiB")));
  EXPECT_THAT(ProblemsOfFlags({{"threads", "8"}, {"proxy-memory", "32MiB"}}), IsEmpty());
}

TEST(Settings, ShareTheProxysMemoryAmongItsThreads) {
  Settings settings;
  settings.threads = 4;
  EXPECT_EQ(settings.ProxyMemoryPerThread(), kMemoryPerThread);
  settings.proxy_memory = 64 * kMiB;
  EXPECT_EQ(settings.ProxyMemoryPerThread(), 16 * kMiB);
  settings.threads = 0;
  EXPECT_GE(settings.EffectiveThreads(), 1U);
}

TEST(Settings, GiveEachThreadRoomForARowOfTheWidestCode) {
  EXPECT_GE(kMemoryPerThreadMin, kCodeWidthMax * kStripBytesMax);
}

// --- Password ---------------------------------------------------------------------------------

TEST(ReadPassword, TakesTheFirstLineOfItsFile) {
  Settings settings;
  EXPECT_EQ(ReadPassword(settings).value(), "");
  settings.password = "direct";
  EXPECT_EQ(ReadPassword(settings).value(), "direct");
  for (const char* text : {"from file", "from file\n", "from file\r\nmore\n"}) {
    const FileForTest file(text);
    settings.password_file = file.path();
    EXPECT_EQ(ReadPassword(settings).value(), "from file");
  }
}

TEST(ReadPassword, NeverTurnsABrokenFileIntoNoPassword) {
  Settings settings;
  settings.password_file = "/nonexistent/password";
  EXPECT_EQ(ReadPassword(settings).error().message,
            "--password-file: /nonexistent/password: No such file or directory");
  const FileForTest file("\nsecond line\n");
  settings.password_file = file.path();
  EXPECT_THAT(ReadPassword(settings).error().message, HasSubstr("its first line is empty"));
}

}  // namespace
}  // namespace infinicache::app
