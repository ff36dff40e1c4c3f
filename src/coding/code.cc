#include "coding/code.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "base/limits.h"

namespace infinicache::coding {
namespace {

// Decimal digits only; a number that is too large for the type stays the largest, so that the
// caller's range check names it as too wide.
std::optional<std::uint32_t> ParseCount(std::string_view text) {
  std::uint32_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (stop != end || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::numeric_limits<std::uint32_t>::max();
  return value;
}

}  // namespace

std::string Code::ToString() const {
  return fmt::format("{}+{}", data, parity);
}

bool IsValid(Code code) {
  return code.data >= 1 && code.width() <= kCodeWidthMax;
}

Result<Code> ParseCode(std::string_view text) {
  const std::size_t plus = text.find('+');
  std::optional<std::uint32_t> data;
  std::optional<std::uint32_t> parity;
  if (plus != std::string_view::npos) {
    data = ParseCount(text.substr(0, plus));
    parity = ParseCount(text.substr(plus + 1));
  }
  if (!data || !parity) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("code \"{}\": expected data+parity chunks, such as \"10+2\"", text));
  }
  if (*data < 1) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("code \"{}\": at least one data chunk is needed, such as \"1+2\"", text));
  }
  if (std::uint64_t{*data} + *parity > kCodeWidthMax) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("code \"{}\": more than {} chunks; take fewer, such as \"10+2\"", text,
                            kCodeWidthMax));
  }
  return Code{static_cast<std::uint8_t>(*data), static_cast<std::uint8_t>(*parity)};
}

Code ChooseCode(Code full, std::uint64_t object_bytes) {
  if (object_bytes <= kReplicatedBytesMax) return {1, full.parity};
  if (object_bytes <= kMiddleCodeBytesMax) {
    return {std::min(full.data, kMiddleCodeData), full.parity};
  }
  return full;
}

}  // namespace infinicache::coding
