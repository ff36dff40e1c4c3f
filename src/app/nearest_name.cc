#include "app/nearest_name.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

namespace infinicache::app {
namespace {

// No name is longer; a longer text is no slip of the finger.
constexpr std::size_t kTextBytesMax = 64;

// Levenshtein's distance, one row of the table at a time.
std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string_view NearestName(std::string_view text, std::span<const std::string_view> names) {
  if (text.empty() || text.size() > kTextBytesMax) return {};
  std::string_view nearest;
  std::size_t nearest_distance = std::max<std::size_t>(1, text.size() / 3) + 1;
  for (std::string_view name : names) {
    // "memory" for "node-memory": the shorter one is a whole part of the longer one.
    const bool part = text.size() >= 4 && name.find(text) != std::string_view::npos;
    const std::size_t distance = part ? 1 : EditDistance(text, name);
    if (distance >= nearest_distance) continue;
    nearest = name;
    nearest_distance = distance;
  }
  return nearest;
}

}  // namespace infinicache::app
