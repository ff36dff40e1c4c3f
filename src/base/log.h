// One line per event on stderr, structured as `message key=value …`, never values or secrets of
// users.
//
//   LOG_INFO("node is up node={} instance={:016x}", node, instance);
//
// Thread-safe. A log on a data path must be bounded: use LOG_WARN_EVERY, which prints at most one
// line per interval and place and counts what it left out.
#pragma once

#include <spdlog/spdlog.h>

#include <atomic>
#include <chrono>
#include <string_view>

#include "base/result.h"

namespace infinicache {

// "trace", "debug", "info", "warn", "error" or "off". Errors: kInvalidArgument naming the choices.
Status SetLogLevel(std::string_view level);

// Sets the line format: "2026-11-23T12:00:00.123Z I name message". Call once, at the start of
// main().
void InitLogging(std::string_view program_name);

namespace internal {

// Lets one caller per `interval` through. `skipped` receives how many were held back since the last
// one.
class LogGate {
 public:
  bool Open(std::chrono::milliseconds interval, std::uint64_t& skipped);

 private:
  std::atomic<std::int64_t> next_ms_{0};
  std::atomic<std::uint64_t> skipped_{0};
};

}  // namespace internal
}  // namespace infinicache

#define LOG_DEBUG(...) SPDLOG_DEBUG(__VA_ARGS__)
#define LOG_INFO(...) ::spdlog::info(__VA_ARGS__)
#define LOG_WARN(...) ::spdlog::warn(__VA_ARGS__)
#define LOG_ERROR(...) ::spdlog::error(__VA_ARGS__)

#define LOG_WARN_EVERY(interval, ...)                                             \
  do {                                                                            \
    static ::infinicache::internal::LogGate log_gate;                             \
    std::uint64_t log_skipped = 0;                                                \
    if (log_gate.Open(interval, log_skipped)) {                                   \
      ::spdlog::warn(__VA_ARGS__);                                                \
      if (log_skipped > 0) ::spdlog::warn("… and {} more of these", log_skipped); \
    }                                                                             \
  } while (false)
