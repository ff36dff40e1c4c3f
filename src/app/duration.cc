#include "app/duration.h"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <utility>

namespace infinicache::app {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 7> kUnits = {{
    {"ms", 1},
    {"s", 1000},
    {"m", 60 * 1000},
    {"min", 60 * 1000},
    {"h", 3600 * 1000},
    {"d", 24 * 3600 * 1000},
    {"", 0},  // only for the number 0
}};

// A century: far above any setting, and far below what overflows.
constexpr double kMillisMax = 100.0 * 365 * 24 * 3600 * 1000;

}  // namespace

Result<Duration> ParseDuration(std::string_view text) {
  const auto invalid = [&](std::string_view reason) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("'{}' {}", text, reason));
  };
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || !(number >= 0)) {
    return invalid("is not a duration; write for example 500ms, 5s or 2m");
  }
  std::string unit;
  for (char c : text.substr(static_cast<std::size_t>(end - text.data()))) {
    if (c != ' ') unit.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  if (unit.empty() && number > 0) {
    return invalid("has no unit; write for example 500ms, 5s or 2m");
  }
  for (const auto& [name, factor] : kUnits) {
    if (unit != name) continue;
    const double millis = number * factor;
    if (millis > kMillisMax) return invalid("is longer than a century");
    return std::chrono::milliseconds(std::llround(millis));
  }
  return invalid("has an unknown unit; write for example 500ms, 5s or 2m");
}

std::string PrintDuration(Duration duration) {
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  constexpr std::int64_t kSecond = 1000;
  constexpr std::int64_t kMinute = 60 * kSecond;
  constexpr std::int64_t kHour = 60 * kMinute;
  if (millis % kSecond != 0) return fmt::format("{}ms", millis);
  // "60s" and "90s" are how people say it.
  if (millis < 2 * kMinute || millis % kMinute != 0) return fmt::format("{}s", millis / kSecond);
  if (millis < 2 * kHour || millis % kHour != 0) return fmt::format("{}m", millis / kMinute);
  return fmt::format("{}h", millis / kHour);
}

std::string DescribeDuration(Duration duration) {
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  if (millis < 1000) return fmt::format("{}ms", millis);
  const auto seconds = millis / 1000;
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return fmt::format("{}m {}s", seconds / 60, seconds % 60);
  const auto minutes = seconds / 60;
  if (minutes < 24 * 60) return fmt::format("{}h {}m", minutes / 60, minutes % 60);
  const auto hours = minutes / 60;
  return fmt::format("{}d {}h", hours / 24, hours % 24);
}

}  // namespace infinicache::app
