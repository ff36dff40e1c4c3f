#include "base/bytes.h"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <utility>

namespace infinicache {

Result<std::uint64_t> ParseByteSize(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, std::uint64_t>, 14> kUnits = {{
      {"", 1},
      {"b", 1},
      {"k", kKiB},
      {"kib", kKiB},
      {"kb", 1000},
      {"m", kMiB},
      {"mib", kMiB},
      {"mb", 1000 * 1000},
      {"g", kGiB},
      {"gib", kGiB},
      {"gb", 1000 * 1000 * 1000},
      {"t", 1024 * kGiB},
      {"tib", 1024 * kGiB},
      {"tb", 1000ULL * 1000 * 1000 * 1000},
  }};
  const auto invalid = [&] {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}' is not a byte size; write for example 512MiB", text));
  };
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || !(number >= 0)) return invalid();
  std::string unit;
  for (char c : text.substr(static_cast<std::size_t>(end - text.data()))) {
    if (c != ' ') unit.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  for (const auto& [name, factor] : kUnits) {
    if (unit != name) continue;
    const double bytes = number * static_cast<double>(factor);
    if (bytes > 9.0e18) return invalid();
    return static_cast<std::uint64_t>(std::llround(bytes));
  }
  return invalid();
}

std::string FormatByteSize(std::uint64_t bytes) {
  static constexpr std::array<std::string_view, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  const int digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  std::string number = fmt::format("{:.{}f}", value, digits);
  if (digits > 0) {
    number.erase(number.find_last_not_of('0') + 1);
    if (number.back() == '.') number.pop_back();
  }
  return fmt::format("{} {}", number, kUnits[unit]);
}

}  // namespace infinicache
