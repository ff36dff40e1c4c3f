#include "base/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <string>

namespace infinicache {

Status SetLogLevel(std::string_view level) {
  static constexpr std::string_view kLevels[] = {"trace", "debug", "info", "warn", "error", "off"};
  for (std::string_view known : kLevels) {
    if (level != known) continue;
    spdlog::set_level(spdlog::level::from_str(level == "warn" ? "warning" : std::string(level)));
    return {};
  }
  return Fail(
      ErrorCode::kInvalidArgument,
      fmt::format("log level '{}' is unknown; choose trace, debug, info, warn, error or off",
                  level));
}

void InitLogging(std::string_view program_name) {
  auto logger = std::make_shared<spdlog::logger>(std::string(program_name),
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  spdlog::set_default_logger(std::move(logger));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %L %n %v", spdlog::pattern_time_type::utc);
  spdlog::flush_on(spdlog::level::info);
}

namespace internal {

bool LogGate::Open(std::chrono::milliseconds interval, std::uint64_t& skipped) {
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
                       std::chrono::steady_clock::now().time_since_epoch())
                       .count();
  std::int64_t next = next_ms_.load(std::memory_order_relaxed);
  if (now < next ||
      !next_ms_.compare_exchange_strong(next, now + interval.count(), std::memory_order_relaxed)) {
    skipped_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  skipped = skipped_.exchange(0, std::memory_order_relaxed);
  return true;
}

}  // namespace internal
}  // namespace infinicache
