#include "app/price_file.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "app/nearest_name.h"
#include "app/text_file.h"
#include "base/bytes.h"
#include "base/check.h"

namespace infinicache::app {
namespace {

using policy::FunctionPrice;
using policy::InstanceHoursPrice;
using policy::Price;
using policy::StoragePrice;

constexpr std::size_t kFileBytesMax = 1 * kMiB;
// Ten years: what a billing rule may round to.
constexpr double kMillisMax = 3e11;

using Line = std::uint32_t;
// Problems by their lines, which keeps those of one line as they were found.
using Problems = std::multimap<Line, std::string>;

// One `[name]` table. Takes known keys out of it one by one, and then tells which are left.
class PriceReader {
 public:
  PriceReader(std::string_view name, const toml::table& table, Problems& problems)
      : name_(name), table_(table), problems_(problems) {}

  Price Read() {
    Price price;
    price.name = std::string(name_);
    const std::string kind = Text("kind");
    price.description = Text("description");
    price.source = Text("source");
    price.date = Date();
    if (kind == "function") {
      price.terms = Function();
    } else if (kind == "instance_hours") {
      price.terms = InstanceHours();
    } else if (kind == "storage") {
      price.terms = Storage();
    } else {
      if (!kind.empty()) {
        Complain(
            LineOf("kind"),
            fmt::format("kind: '{}' is none; write function, instance_hours or storage", kind));
      }
      return price;  // what else it may hold depends on the kind
    }
    ReportUnknown();
    return price;
  }

 private:
  FunctionPrice Function() {
    FunctionPrice price;
    price.request_dollars_per_million = Number("request_dollars_per_million");
    price.dollars_per_gb_second = Number("dollars_per_gb_second");
    price.dollars_per_vcpu_second = Number("dollars_per_vcpu_second");
    price.billing.quantum = Millis("quantum_ms", Positive("quantum_ms"));
    price.billing.minimum = Millis("minimum_ms", Number("minimum_ms"));
    return price;
  }

  InstanceHoursPrice InstanceHours() {
    InstanceHoursPrice price;
    if (!table_.contains("dollars_per_machine_hour")) {
      price.dollars_per_gb_hour = Number("dollars_per_gb_hour");
      price.dollars_per_vcpu_hour = Number("dollars_per_vcpu_hour");
      return price;
    }
    price.dollars_per_machine_hour = Positive("dollars_per_machine_hour");
    price.machine_gb = Positive("machine_gb");
    price.machine_vcpus = Number("machine_vcpus");
    price.whole_machines = Truth("whole_machines");
    return price;
  }

  StoragePrice Storage() {
    return {Number("dollars_per_gb_month"), Number("read_dollars_per_million")};
  }

  // The value of `key`, which is known from now on; nullptr, and a problem, if there is none.
  const toml::node* Take(std::string_view key) {
    known_.push_back(key);
    const toml::node* node = table_.get(key);
    if (node == nullptr) {
      Complain(table_.source().begin.line, fmt::format("{} is missing", key));
    }
    return node;
  }

  std::string Text(std::string_view key) {
    const toml::node* node = Take(key);
    if (node == nullptr) return {};
    const auto* text = node->as_string();
    if (text != nullptr && !text->get().empty()) return text->get();
    Complain(node->source().begin.line, fmt::format("{}: must be a text in quotes", key));
    return {};
  }

  std::string Date() {
    const toml::node* node = Take("date");
    if (node == nullptr) return {};
    if (const auto* date = node->as_date()) {
      return fmt::format("{:04}-{:02}-{:02}", date->get().year, date->get().month, date->get().day);
    }
    Complain(node->source().begin.line, "date: must be a day without quotes, as 2026-11-23");
    return {};
  }

  bool Truth(std::string_view key) {
    const toml::node* node = Take(key);
    if (node == nullptr) return false;
    if (const auto* truth = node->as_boolean()) return truth->get();
    Complain(node->source().begin.line, fmt::format("{}: must be true or false", key));
    return false;
  }

  double Number(std::string_view key) {
    const toml::node* node = Take(key);
    if (node == nullptr) return 0;
    const std::optional<double> number = node->is_number() ? node->value<double>() : std::nullopt;
    if (number && std::isfinite(*number) && *number >= 0) return *number;
    Complain(node->source().begin.line,
             fmt::format("{}: must be a number, 0 or above, without quotes", key));
    return 0;
  }

  double Positive(std::string_view key) {
    const std::size_t before = problems_.size();
    const double number = Number(key);
    if (number == 0 && problems_.size() == before) {
      Complain(LineOf(key), fmt::format("{}: must be above 0", key));
    }
    return number;
  }

  Duration Millis(std::string_view key, double millis) {
    constexpr double kNsPerMs = 1e6;
    if (millis > kMillisMax) {
      Complain(LineOf(key), fmt::format("{}: must be below 10 years", key));
      return Duration(1);
    }
    const double ns = millis * kNsPerMs;
    if (ns != std::floor(ns)) {
      Complain(LineOf(key), fmt::format("{}: must be whole nanoseconds", key));
    }
    return Duration(std::llround(ns));
  }

  Line LineOf(std::string_view key) const {
    const toml::node* node = table_.get(key);
    CHECK(node != nullptr, "{}", key);
    return node->source().begin.line;
  }

  void ReportUnknown() {
    for (const auto& [key, value] : table_) {
      if (std::ranges::find(known_, key.str()) != known_.end()) continue;
      const std::string_view nearest = NearestName(key.str(), known_);
      Complain(key.source().begin.line,
               nearest.empty()
                   ? fmt::format("{}: not known for this kind; it has {}", key.str(),
                                 fmt::join(known_, ", "))
                   : fmt::format("{}: not known; did you mean {}?", key.str(), nearest));
    }
  }

  void Complain(Line line, const std::string& what) {
    problems_.emplace(line, fmt::format("{}: {}", name_, what));
  }

  std::string_view name_;
  const toml::table& table_;
  Problems& problems_;
  std::vector<std::string_view> known_;
};

}  // namespace

PriceFile ParsePriceFile(std::string_view toml, const std::string& path) {
  toml::table file;
  try {
    file = toml::parse(toml, path);
  } catch (const toml::parse_error& error) {
    return {{}, {fmt::format("{}:{}: {}", path, error.source().begin.line, error.description())}};
  }
  Problems problems;
  // The table is in order of names; people look for prices in the file's order.
  std::vector<std::pair<Line, Price>> prices;
  for (const auto& [key, value] : file) {
    const Line line = key.source().begin.line;
    if (const auto* table = value.as_table()) {
      prices.emplace_back(line, PriceReader(key.str(), *table, problems).Read());
    } else {
      problems.emplace(line,
                       fmt::format("{}: belongs to no price; write it below a [name]", key.str()));
    }
  }
  if (file.empty()) {
    problems.emplace(1, "no price; `infinicache prices --toml` prints a file to begin with");
  }
  const auto by_line = [](const auto& a, const auto& b) { return a.first < b.first; };
  std::ranges::sort(prices, by_line);
  PriceFile result;
  for (auto& [line, price] : prices) result.table.prices.push_back(std::move(price));
  for (const auto& [line, what] : problems) {
    result.problems.push_back(fmt::format("{}:{}: {}", path, line, what));
  }
  return result;
}

PriceFile ReadPriceFile(const std::string& path) {
  const auto text = ReadTextFile(path, kFileBytesMax);
  if (!text) return {{}, {text.error().message}};
  return ParsePriceFile(*text, path);
}

const policy::PriceTable& BuiltInPrices() {
  static const policy::PriceTable kTable = [] {
    PriceFile file = ParsePriceFile(BuiltInPriceText(), "prices.toml");
    CHECK(file.problems.empty(), "{}", fmt::join(file.problems, "; "));
    return std::move(file.table);
  }();
  return kTable;
}

}  // namespace infinicache::app
