// Reading an answer of the admin interface leniently, and writing it as a table: for the texts of
// the operator's commands.
//
// Values are named by JSON pointers ("/nodes/total"). Thread-safety: pure.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace infinicache::app {

// nullptr if it is missing.
const boost::json::value* Find(const boost::json::value& value, std::string_view pointer);
// 0 for what is missing, or no whole number from 0 on.
std::uint64_t Number(const boost::json::value& value, std::string_view pointer);
// 0 for what is missing or no number.
double Real(const boost::json::value& value, std::string_view pointer);
// "-" for what is missing, null or no text.
std::string Text(const boost::json::value& value, std::string_view pointer);
// False for what is missing or neither true nor false.
bool Truth(const boost::json::value& value, std::string_view pointer);

// "12,345"
std::string Grouped(std::uint64_t number);
// Rows of as many cells each as columns; those in `right` are aligned to the right.
// REQUIRES: there is a row.
std::string Table(const std::vector<std::vector<std::string>>& rows,
                  const std::vector<std::size_t>& right);

}  // namespace infinicache::app
