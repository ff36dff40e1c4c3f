// What the settings `preset`, `warm-up`, `backup`, `price` and those that override a preset come
// to.
//
// `warm-up`: off, adaptive, a fixed interval as "1m", or auto: adaptive where the preset's nodes
// sleep. `backup`: the same words; auto: adaptive where the preset's instances end without notice.
//
// Thread-safety: pure, but for LoadPrices, which reads the price file.
#pragma once

#include <optional>
#include <string_view>

#include "app/settings.h"
#include "base/result.h"
#include "platform/local/local_platform.h"
#include "policy/meter.h"
#include "policy/prices.h"
#include "policy/warm_up.h"
#include "pool/backups.h"

namespace infinicache::app {

// Of the settings `warm-up` and `backup`: auto, off, adaptive, or a time. Errors: kInvalidArgument.
Status CheckInterval(std::string_view text);

// None: nodes are not warmed up. REQUIRES: CheckInterval(settings.warm_up).
std::optional<policy::WarmUpInterval::Options> WarmUpOptions(const Settings& settings);

// With the preset: nodes that never sleep have no peers. Errors: kInvalidArgument.
Status CheckBackupOf(const Settings& settings);

// None: nodes are not backed up. REQUIRES: CheckInterval(settings.backup).
std::optional<pool::BackupOptions> BackupOptionsOf(const Settings& settings);

// What the pool is billed by, and what it is compared with.
struct Prices {
  policy::Price nodes;
  policy::Price provisioned;
  std::optional<policy::Price> storage;  // S3 Standard, else the table's first; none: no such price
  policy::NodeSize node_size;
};

// Errors: kInvalidArgument, naming the setting (the file has problems, no such price, a price of
// another kind).
Result<Prices> LoadPrices(const Settings& settings);

// Sets what the preset and the settings that override it say. `prices` decide how long it pays to
// stay idle.
void ApplyPreset(const Settings& settings, const Prices& prices, platform::LocalOptions& options);

}  // namespace infinicache::app
