#include "proxy/expiry.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "proxy/command.h"

namespace infinicache::proxy {

std::optional<ExpiryUnit> ParseExpiryUnit(std::string_view word) {
  if (EqualsIgnoreCase(word, "ex")) return ExpiryUnit{std::chrono::seconds(1), false};
  if (EqualsIgnoreCase(word, "px")) return ExpiryUnit{std::chrono::milliseconds(1), false};
  if (EqualsIgnoreCase(word, "exat")) return ExpiryUnit{std::chrono::seconds(1), true};
  if (EqualsIgnoreCase(word, "pxat")) return ExpiryUnit{std::chrono::milliseconds(1), true};
  return std::nullopt;
}

Result<WallMillis> ParseExpiry(std::string_view number, ExpiryUnit unit, WallMillis now,
                               std::string_view command, bool positive_only) {
  const auto value = ParseInteger(number);
  if (!value) return Fail(ErrorCode::kInvalidArgument, std::string(kNotAnInteger));
  WallMillis when = 0;
  const WallMillis base = unit.absolute ? 0 : now;
  if ((positive_only && *value <= 0) ||
      __builtin_mul_overflow(*value, WallMillis{unit.unit.count()}, &when) ||
      __builtin_add_overflow(when, base, &when)) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("ERR invalid expire time in '{}' command", command));
  }
  // 0 stands for "never" in a record; everything before 1970 is equally past.
  return std::max<WallMillis>(when, 1);
}

}  // namespace infinicache::proxy
