#include "policy/availability.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace infinicache::policy {
namespace {

// ln C(n, k), or minus infinity if there is no such choice.
double LogChoose(std::uint64_t n, std::uint64_t k) {
  if (k > n) return -HUGE_VAL;
  const auto log_factorial = [](std::uint64_t x) {
    return std::lgamma(static_cast<double>(x) + 1);
  };
  return log_factorial(n) - log_factorial(k) - log_factorial(n - k);
}

}  // namespace

double LossProbability(std::uint64_t nodes, unsigned data, unsigned parity,
                       std::uint64_t reclaimed) {
  const std::uint64_t width = std::uint64_t{data} + parity;
  CHECK(data >= 1 && width <= nodes && reclaimed <= nodes);
  const double all = LogChoose(nodes, reclaimed);
  double sum = 0;
  for (std::uint64_t hit = parity + 1; hit <= std::min(width, reclaimed); ++hit)
    sum += std::exp(LogChoose(width, hit) + LogChoose(nodes - width, reclaimed - hit) - all);
  return std::min(sum, 1.0);
}

double WindowLossProbability(std::uint64_t nodes, unsigned data, unsigned parity,
                             std::span<const std::uint64_t> reclaimed_by_window) {
  if (reclaimed_by_window.empty()) return 0;
  double sum = 0;
  for (const std::uint64_t reclaimed : reclaimed_by_window)
    sum += LossProbability(nodes, data, parity, std::min(reclaimed, nodes));
  return sum / static_cast<double>(reclaimed_by_window.size());
}

double Availability(double loss_per_window, double windows) {
  CHECK(loss_per_window >= 0 && loss_per_window <= 1);
  // log1p keeps the digits of a loss far below 1.
  return std::exp(windows * std::log1p(-loss_per_window));
}

}  // namespace infinicache::policy
