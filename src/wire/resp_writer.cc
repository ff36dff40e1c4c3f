#include "wire/resp_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace infinicache::wire {

void RespWriter::Line(char type, std::string_view text) {
  out_.push_back(type);
  const std::size_t begin = out_.size();
  out_.append(text);
  std::replace_if(
      out_.begin() + static_cast<std::ptrdiff_t>(begin), out_.end(),
      [](char c) { return c == '\r' || c == '\n'; }, ' ');
  out_.append("\r\n");
}

void RespWriter::Header(char type, std::uint64_t number) {
  const fmt::format_int digits(number);
  out_.push_back(type);
  out_.append(digits.data(), digits.size());
  out_.append("\r\n");
}

void RespWriter::Simple(std::string_view text) {
  Line('+', text);
}

void RespWriter::Error(std::string_view text) {
  ++errors_;
  Line('-', text);
}

void RespWriter::Integer(std::int64_t value) {
  const fmt::format_int digits(value);
  out_.push_back(':');
  out_.append(digits.data(), digits.size());
  out_.append("\r\n");
}

void RespWriter::Bulk(std::string_view bytes) {
  BulkHeader(bytes.size());
  out_.append(bytes);
  out_.append("\r\n");
}

void RespWriter::BulkHeader(std::uint64_t length) {
  Header('$', length);
}

void RespWriter::Null() {
  out_.append(resp3_ ? "_\r\n" : "$-1\r\n");
}

void RespWriter::NullArray() {
  out_.append(resp3_ ? "_\r\n" : "*-1\r\n");
}

void RespWriter::Double(double value) {
  // The sign of a NaN says nothing; fmt would print it.
  const std::string text = std::isnan(value) ? "nan" : fmt::format("{}", value);
  if (resp3_) {
    Line(',', text);
  } else {
    Bulk(text);
  }
}

void RespWriter::Boolean(bool value) {
  if (resp3_) {
    out_.append(value ? "#t\r\n" : "#f\r\n");
  } else {
    Integer(value ? 1 : 0);
  }
}

void RespWriter::Verbatim(std::string_view format, std::string_view text) {
  CHECK(format.size() == 3);
  if (!resp3_) {
    Bulk(text);
    return;
  }
  Header('=', text.size() + format.size() + 1);
  out_.append(format);
  out_.push_back(':');
  out_.append(text);
  out_.append("\r\n");
}

void RespWriter::Map(std::size_t pairs) {
  if (resp3_) {
    Header('%', pairs);
  } else {
    Header('*', 2 * pairs);
  }
}

}  // namespace infinicache::wire
