#include "app/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "app/config_commands.h"
#include "app/cost_commands.h"
#include "app/exit_code.h"
#include "app/nearest_name.h"
#include "app/remote_commands.h"
#include "app/serve.h"
#include "app/settings.h"
#include "base/log.h"

namespace infinicache::app {
namespace {

constexpr std::size_t kHelpColumns = 60;
constexpr std::size_t kFlagColumns = 30;

// `text` with line feeds, so that --help stays within 90 columns.
std::string Wrap(std::string_view text) {
  std::string lines;
  while (text.size() > kHelpColumns) {
    const std::size_t blank = text.rfind(' ', kHelpColumns);
    if (blank == std::string_view::npos) break;
    lines += fmt::format("{}\n", text.substr(0, blank));
    text.remove_prefix(blank + 1);
  }
  return lines += text;
}

// What the command line says. CLI11 fills it while it parses; the chosen command reads it.
struct Arguments {
  SettingsInput settings;
  std::string check_file;
  RemoteOptions remote;
  std::string key;
  bool json = false;
  PriceOptions prices;
  EstimateOptions estimate;
};

using Command = std::function<int(const Arguments&)>;

std::string SettingHelp(const SettingSpec& spec) {
  static const Settings kDefaults;
  const std::string limits = spec.Limits();
  const std::string value = spec.Print(kDefaults);
  std::string help(spec.help);
  if (!limits.empty() && !spec.IsSwitch()) help += fmt::format("; {}", limits);
  if (!value.empty()) help += fmt::format(" [{}]", value);
  return Wrap(help);
}

void AddConfigFlag(CLI::App& command, Arguments& arguments) {
  command
      .add_option("--config", arguments.settings.config_file,
                  Wrap("TOML file of settings; `infinicache config init` prints one "
                       "[INFINICACHE_CONFIG]"))
      ->type_name("FILE");
}

void AddSettingFlags(CLI::App& command, Arguments& arguments) {
  for (const SettingSpec& spec : SettingSpecs()) {
    CLI::Option* option = command.add_option_function<std::string>(
        fmt::format("--{}", spec.name),
        [&arguments, &spec](const std::string& text) {
          // `--repair` alone means on.
          const bool alone = spec.IsSwitch() && text.empty();
          arguments.settings.flags.emplace_back(spec.name, alone ? "on" : text);
        },
        SettingHelp(spec));
    option->type_name(spec.IsSwitch() ? "on|off" : std::string(spec.value_name))
        ->group(std::string(spec.group));
    if (spec.IsSwitch()) option->expected(0, 1);
  }
}

void AddRemoteFlags(CLI::App& command, Arguments& arguments) {
  AddConfigFlag(command, arguments);
  command
      .add_option_function<std::string>(
          "--admin",
          [&arguments](const std::string& text) {
            arguments.settings.flags.emplace_back("admin", text);
          },
          "the server's admin address [127.0.0.1:6380]")
      ->type_name("ADDRESS");
  command
      .add_option_function<std::string>(
          "--timeout", [&arguments](const std::string& text) { arguments.remote.timeout = text; },
          fmt::format("how long to wait for the answer [{}]", arguments.remote.timeout))
      ->type_name("DURATION");
  command.add_flag("--json", arguments.json, "print the server's JSON, for programs");
}

LoadedSettings Load(const Arguments& arguments) {
  SettingsInput input = arguments.settings;
  input.environment = ProcessEnvironment();
  return LoadSettings(input);
}

int RunServe(const Arguments& arguments, std::string_view version) {
  InitLogging("infinicache");
  const LoadedSettings loaded = Load(arguments);
  if (!loaded.problems.empty()) return ReportProblems(loaded);
  if (auto status = SetLogLevel(loaded.values.log_level); !status) {
    fmt::print(stderr, "infinicache: {}\n", status.error().message);
    return kExitUsage;
  }
  if (auto status = Serve(loaded, version); !status) {
    fmt::print(stderr, "infinicache: {}\n", status.error().message);
    return status.error().code == ErrorCode::kInvalidArgument ? kExitUsage : kExitRuntime;
  }
  return kExitOk;
}

int RunConfigShow(const Arguments& arguments) {
  const LoadedSettings loaded = Load(arguments);
  return loaded.problems.empty() ? ConfigShow(loaded, arguments.json) : ReportProblems(loaded);
}

// Runs `query` against the admin interface that flags, environment and file name.
int RunRemote(const Arguments& arguments, int (*query)(const RemoteOptions&)) {
  const LoadedSettings loaded = Load(arguments);
  if (!loaded.problems.empty()) return ReportProblems(loaded);
  if (!loaded.values.admin) {
    fmt::print(stderr,
               "infinicache: the admin interface is off ({}): name a running one with --admin\n",
               loaded.OriginOf("admin").place);
    return kExitUsage;
  }
  RemoteOptions options = arguments.remote;
  options.admin = *loaded.values.admin;
  options.json = arguments.json;
  options.key = arguments.key;
  return query(options);
}

// The commands, and which of them the command line chose.
class CommandLine {
 public:
  explicit CommandLine(std::string_view version) : version_(version) {
    app_.description(
        "InfiniCache: an in-memory cache for large objects that speaks the Redis protocol and "
        "survives losing its nodes.");
    app_.name("infinicache");
    app_.set_version_flag("--version", version_, "print the version");
    app_.require_subcommand(1);
    app_.get_formatter()->column_width(kFlagColumns);
    AddServe();
    AddRemoteCommands();
    AddConfigCommands();
    AddCostCommands();
    Add(app_, "version", "Print the version", [this](const Arguments&) {
      fmt::print("infinicache {}\n", version_);
      return kExitOk;
    });
  }

  int Run(int argc, char** argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::Success& success) {  // --help, --version
      return app_.exit(success);
    } catch (const CLI::ParseError& error) {
      return ReportUsage(error);
    }
    return chosen_(arguments_);
  }

 private:
  CLI::App& Add(CLI::App& parent, const std::string& name, const std::string& help, Command run) {
    CLI::App* command = parent.add_subcommand(name, help);
    command->get_formatter()->column_width(kFlagColumns);
    // CLI11 calls a command after those below it, which go before it.
    command->final_callback([this, command, run = std::move(run)] {
      if (command->get_subcommands().empty()) chosen_ = run;
    });
    return *command;
  }

  void AddServe() {
    CLI::App& serve =
        Add(app_, "serve", "Run the server and its nodes",
            [this](const Arguments& arguments) { return RunServe(arguments, version_); });
    serve.footer(
        "A flag goes before the environment (INFINICACHE_NAME), that before the file of --config.");
    AddConfigFlag(serve, arguments_);
    AddSettingFlags(serve, arguments_);
  }

  void AddRemoteCommands() {
    AddRemoteFlags(Add(app_, "status", "Show how a running server does",
                       [](const Arguments& a) { return RunRemote(a, ShowStatus); }),
                   arguments_);
    AddRemoteFlags(Add(app_, "nodes", "List a running server's nodes",
                       [](const Arguments& a) { return RunRemote(a, ShowNodes); }),
                   arguments_);
    CLI::App& where = Add(app_, "where", "Show on which nodes an object's chunks lie",
                          [](const Arguments& a) { return RunRemote(a, ShowObject); });
    where.add_option("KEY", arguments_.key, "the object's key")->required()->type_name("");
    AddRemoteFlags(where, arguments_);
    AddRemoteFlags(Add(app_, "doctor", "Say what is at risk in a running server, and what to do",
                       [](const Arguments& a) { return RunRemote(a, ShowDoctor); }),
                   arguments_);
    CLI::App& events = Add(app_, "events", "List what happened to a running server's instances",
                           [](const Arguments& a) { return RunRemote(a, ShowEvents); });
    events.add_flag("--follow,-f", arguments_.remote.follow,
                    "go on as events happen, until interrupted");
    events.add_option("--after", arguments_.remote.after, "only events with a higher number [0]")
        ->type_name("NUMBER");
    AddRemoteFlags(events, arguments_);
    CLI::App& reclaim =
        Add(app_, "reclaim", "Take a node's instance away, to try it out (needs --test-hooks on)",
            [](const Arguments& a) { return RunRemote(a, ReclaimNode); });
    reclaim.add_option("NODE", arguments_.remote.node, "the node's number")
        ->required()
        ->type_name("");
    AddRemoteFlags(reclaim, arguments_);
  }

  void AddConfigCommands() {
    CLI::App* config = app_.add_subcommand("config", "Write, check or show settings");
    config->require_subcommand(1);
    config->get_formatter()->column_width(kFlagColumns);
    Add(*config, "init", "Print a TOML file of all settings, explained, with their defaults",
        [](const Arguments&) { return ConfigInit(); });
    Add(*config, "check", "Say what is wrong with a TOML file, with line numbers",
        [](const Arguments& a) { return ConfigCheck(a.check_file); })
        .add_option("FILE", arguments_.check_file, "the file")
        ->required()
        ->type_name("");
    CLI::App& show = Add(*config, "show", "Print the settings that `serve` would run with",
                         [](const Arguments& a) { return RunConfigShow(a); });
    show.add_flag("--json", arguments_.json, "for programs");
    AddConfigFlag(show, arguments_);
    AddSettingFlags(show, arguments_);
  }

  void AddPriceFlags(CLI::App& command) {
    command
        .add_option("--file", arguments_.prices.file,
                    Wrap("TOML file of prices, instead of the program's own"))
        ->type_name("FILE");
    command.add_flag("--json", arguments_.prices.json, "for programs");
  }

  void AddCostCommands() {
    CLI::App& prices = Add(app_, "prices", "List what platforms charge, with date and source",
                           [](const Arguments& a) { return ShowPrices(a.prices); });
    AddPriceFlags(prices);
    prices.add_flag("--toml", arguments_.prices.toml, "print the program's own file, to be edited");
    CLI::App& cost = Add(app_, "cost", "Show what a running server costs, and what beside it would",
                         [](const Arguments& a) { return RunRemote(a, ShowCost); });
    AddRemoteFlags(cost, arguments_);
    cost.require_subcommand(0, 1);
    CLI::App& estimate =
        Add(cost, "estimate", "Reckon what a pool with a fixed schedule would cost",
            [](const Arguments& a) { return CostEstimate(a.prices, a.estimate); });
    AddPriceFlags(estimate);
    AddEstimateFlags(estimate, arguments_.estimate);
  }

  static void AddEstimateFlags(CLI::App& command, EstimateOptions& options) {
    const auto add = [&command](const std::string& flag, auto& value, std::string_view type,
                                std::string_view help) {
      command.add_option(flag, value, Wrap(fmt::format("{} [{}]", help, value)))
          ->type_name(std::string(type));
    };
    add("--nodes", options.nodes, "COUNT", "nodes of the pool");
    add("--node-memory", options.node_memory, "SIZE",
        "memory of a node; what vendors call 1.5 GB is 1.5GiB");
    add("--node-vcpus", options.node_vcpus, "NUMBER", "CPU of a node, where it is billed");
    add("--hours", options.hours, "NUMBER", "for how long");
    add("--warm-up", options.warm_up, "DURATION", "time between warm-ups of a node; 0: never");
    add("--warm-up-session", options.warm_up_session, "DURATION", "how long a warm-up runs");
    add("--backup", options.backup, "DURATION", "time between backups of a node; 0: never");
    add("--backup-session", options.backup_session, "DURATION", "how long a backup runs");
    add("--requests-per-hour", options.requests_per_hour, "COUNT", "requests of clients");
    add("--chunks", options.chunks, "COUNT", "sessions that a request needs, one for each chunk");
    add("--chunk-session", options.chunk_session, "DURATION", "how long such a session runs");
    add("--price", options.price, "NAME", "what the nodes are billed by");
    add("--provisioned", options.provisioned, "NAME", "the same memory, provisioned");
    add("--storage", options.storage, "NAME", "the same bytes, stored");
  }

  // The parser that the arguments reached: the innermost chosen command.
  CLI::App& Innermost() {
    CLI::App* command = &app_;
    while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
    return *command;
  }

  int ReportUsage(const CLI::ParseError& error) {
    CLI::App& command = Innermost();
    const std::string word = UnknownWord(command);
    fmt::print(stderr, "infinicache: {}\n",
               word.empty() ? error.what() : fmt::format("unknown argument '{}'", word));
    if (const std::string hint = Suggestion(command, word); !hint.empty())
      fmt::print(stderr, "Did you mean {}?\n", hint);
    std::string name;
    for (const CLI::App* a = &command; a != &app_; a = a->get_parent())
      name = fmt::format(" {}{}", a->get_name(), name);
    fmt::print(stderr, "`infinicache{} --help` shows what there is.\n", name);
    return kExitUsage;
  }

  // The first flag, or else word, that `command` does not know; "" if it knows all.
  static std::string UnknownWord(const CLI::App& command) {
    const std::vector<std::string> unknown = command.remaining();
    if (unknown.empty()) return {};
    const auto flag = std::find_if(unknown.begin(), unknown.end(),
                                   [](const auto& word) { return word.starts_with('-'); });
    const std::string& word = flag == unknown.end() ? unknown.front() : *flag;
    return word.substr(0, word.find('='));
  }

  // The flag or command of `command` next to `word`.
  static std::string Suggestion(const CLI::App& command, const std::string& word) {
    std::vector<std::string> names;
    for (const CLI::Option* option : command.get_options())
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const CLI::App* child : command.get_subcommands([](const CLI::App*) { return true; }))
      names.push_back(child->get_name());
    const std::vector<std::string_view> views(names.begin(), names.end());
    return std::string(NearestName(word, views));
  }

  const std::string version_;
  Arguments arguments_;
  Command chosen_;
  CLI::App app_;
};

}  // namespace

int RunCli(int argc, char** argv, std::string_view version) {
  return CommandLine(version).Run(argc, argv);
}

}  // namespace infinicache::app
