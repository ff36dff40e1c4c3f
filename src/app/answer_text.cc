#include "app/answer_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

namespace infinicache::app {

namespace json = boost::json;

const json::value* Find(const json::value& value, std::string_view pointer) {
  json::error_code error;
  return value.find_pointer({pointer.data(), pointer.size()}, error);
}

std::uint64_t Number(const json::value& value, std::string_view pointer) {
  const json::value* found = Find(value, pointer);
  if (found == nullptr) return 0;
  if (const auto* number = found->if_uint64()) return *number;
  if (const auto* number = found->if_int64()) return *number < 0 ? 0 : *number;
  return 0;
}

double Real(const json::value& value, std::string_view pointer) {
  const json::value* found = Find(value, pointer);
  return found != nullptr && found->is_number() ? found->to_number<double>() : 0;
}

std::string Text(const json::value& value, std::string_view pointer) {
  const json::value* found = Find(value, pointer);
  if (found == nullptr || !found->is_string()) return "-";
  return std::string(found->get_string());
}

bool Truth(const json::value& value, std::string_view pointer) {
  const json::value* found = Find(value, pointer);
  return found != nullptr && found->is_bool() && found->get_bool();
}

std::string Grouped(std::uint64_t number) {
  std::string digits = fmt::to_string(number);
  for (std::size_t left = digits.size(); left > 3; left -= 3) digits.insert(left - 3, ",");
  return digits;
}

std::string Table(const std::vector<std::vector<std::string>>& rows,
                  const std::vector<std::size_t>& right) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool to_right = std::find(right.begin(), right.end(), i) != right.end();
      line += to_right ? fmt::format("{:>{}}  ", row[i], widths[i])
                       : fmt::format("{:<{}}  ", row[i], widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace infinicache::app
