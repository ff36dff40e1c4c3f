#include "app/preset_setting.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

#include "app/duration.h"
#include "app/price_file.h"
#include "base/check.h"
#include "platform/local/preset.h"

namespace infinicache::app {
namespace {

constexpr Duration kIntervalMin = std::chrono::milliseconds(100);
constexpr Duration kIntervalMax = std::chrono::hours(24);
// How fast a round is without a limit: for the adaptive interval.
constexpr std::uint64_t kBackupBytesPerSecond = 200 * kMiB;

const platform::Preset& PresetOf(const Settings& settings) {
  const platform::Preset* preset = platform::FindPreset(settings.preset);
  CHECK(preset != nullptr, "the settings know a preset '{}'", settings.preset);
  return *preset;
}

Result<policy::Price> Find(const policy::PriceTable& table, std::string_view setting,
                           std::string_view name) {
  const policy::Price* price = table.Find(name);
  if (price != nullptr && price->storage() == nullptr) return *price;
  return Fail(
      ErrorCode::kInvalidArgument,
      fmt::format("--{}: no price of nodes '{}'; `infinicache prices` lists them", setting, name));
}

std::optional<policy::Price> StoragePrice(const policy::PriceTable& table) {
  const policy::Price* price = table.Find("s3-standard");
  if (price != nullptr && price->storage() != nullptr) return *price;
  const auto first = std::find_if(table.prices.begin(), table.prices.end(),
                                  [](const auto& any) { return any.storage() != nullptr; });
  return first == table.prices.end() ? std::nullopt : std::optional(*first);
}

// A quantum of the settings is billed by, in place of the price's rounding.
void ApplyQuantum(const Settings& settings, policy::Price& price) {
  auto* function = std::get_if<policy::FunctionPrice>(&price.terms);
  if (function == nullptr || !settings.billing_quantum) return;
  function->billing = {std::max(*settings.billing_quantum, Duration(1)), Duration(0)};
}

// Idle time of a node that costs as much as the fee of an invocation.
Duration FeeInIdleTime(const policy::FunctionPrice& price, const policy::NodeSize& size) {
  const double gb = static_cast<double>(size.memory_bytes) / static_cast<double>(kGiB);
  const double per_second =
      gb * price.dollars_per_gb_second + size.milli_vcpus * 1e-3 * price.dollars_per_vcpu_second;
  if (per_second <= 0) return Duration(0);
  const double seconds = price.request_dollars_per_million * 1e-6 / per_second;
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(std::min(seconds, 60.0)));
}

platform::IdleChoice IdleChoiceOf(const Settings& settings) {
  if (settings.idle_choice == "earliest") return platform::IdleChoice::kEarliest;
  return settings.idle_choice == "random" ? platform::IdleChoice::kRandom
                                          : platform::IdleChoice::kLatest;
}

}  // namespace

Status CheckInterval(std::string_view text) {
  if (text == "auto" || text == "off" || text == "adaptive") return {};
  const auto interval = ParseDuration(text);
  if (interval && *interval >= kIntervalMin && *interval <= kIntervalMax) return {};
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("'{}' is no interval: write auto, off, adaptive, or a time from {} to {}",
                          text, PrintDuration(kIntervalMin), PrintDuration(kIntervalMax)));
}

std::optional<policy::WarmUpInterval::Options> WarmUpOptions(const Settings& settings) {
  const bool by_preset = settings.warm_up == "auto";
  if (settings.warm_up == "off" || (by_preset && !PresetOf(settings).warms_up)) return std::nullopt;
  policy::WarmUpInterval::Options options;
  if (by_preset || settings.warm_up == "adaptive") return options;
  const auto interval = ParseDuration(settings.warm_up);
  CHECK(interval);
  options.adaptive = false;
  options.interval = options.min = options.max = *interval;
  return options;
}

Status CheckBackupOf(const Settings& settings) {
  const bool wanted = settings.backup != "auto" && settings.backup != "off";
  if (!wanted || !PresetOf(settings).traits.standing) return {};
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("backup = {}, but nodes of preset {} have one instance each, which never "
                          "sleeps: set backup = off, or another preset",
                          settings.backup, settings.preset));
}

std::optional<pool::BackupOptions> BackupOptionsOf(const Settings& settings) {
  const platform::Preset& preset = PresetOf(settings);
  const bool by_preset = settings.backup == "auto";
  if (settings.backup == "off" || preset.traits.standing) return std::nullopt;
  if (by_preset && !preset.backs_up) return std::nullopt;
  pool::BackupOptions options;
  options.bytes_per_second = settings.backup_bandwidth;
  options.interval.bytes_per_second =
      settings.backup_bandwidth == 0 ? kBackupBytesPerSecond : settings.backup_bandwidth;
  if (by_preset || settings.backup == "adaptive") return options;
  const auto interval = ParseDuration(settings.backup);
  CHECK(interval);
  options.interval.adaptive = false;
  options.interval.interval = *interval;
  return options;
}

Result<Prices> LoadPrices(const Settings& settings) {
  PriceFile own;
  if (!settings.price_file.empty()) {
    own = ReadPriceFile(settings.price_file);
    if (!own.problems.empty()) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("--price-file: {}", fmt::join(own.problems, "; ")));
    }
  }
  const policy::PriceTable& table = settings.price_file.empty() ? BuiltInPrices() : own.table;
  const platform::Preset& preset = PresetOf(settings);
  auto nodes = Find(table, "price",
                    settings.price == "auto" ? preset.price : std::string_view(settings.price));
  if (!nodes) return tl::make_unexpected(nodes.error());
  auto provisioned = Find(table, "provisioned-price", settings.provisioned_price);
  if (!provisioned) return tl::make_unexpected(provisioned.error());
  if (provisioned->instance_hours() == nullptr) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--provisioned-price: '{}' is not billed by instance hours",
                            settings.provisioned_price));
  }
  ApplyQuantum(settings, *nodes);
  return Prices{std::move(*nodes),
                std::move(*provisioned),
                StoragePrice(table),
                {settings.node_memory, preset.milli_vcpus}};
}

void ApplyPreset(const Settings& settings, const Prices& prices, platform::LocalOptions& options) {
  const platform::Preset& preset = PresetOf(settings);
  options.traits = preset.traits;
  if (settings.billing_quantum) options.traits.billing_quantum = *settings.billing_quantum;
  if (settings.session_max && !preset.traits.standing)
    options.traits.session_max = *settings.session_max;
  options.cold_start_min = settings.cold_start_min.value_or(preset.cold_start_min);
  options.cold_start_max = settings.cold_start_max.value_or(preset.cold_start_max);
  options.reclaim_drain = settings.reclaim_drain.value_or(preset.reclaim_drain);
  options.reclaim_grace = settings.reclaim_grace.value_or(preset.reclaim_grace);
  options.nodes_per_host = settings.nodes_per_host;
  options.idle_choice = IdleChoiceOf(settings);
  options.idle_break_even = preset.idle_worth;
  if (const policy::FunctionPrice* price = prices.nodes.function())
    options.idle_break_even += FeeInIdleTime(*price, prices.node_size);
}

}  // namespace infinicache::app
