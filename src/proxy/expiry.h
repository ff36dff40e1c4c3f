// Expiry times as commands give them: a number in seconds or milliseconds, from now or from 1970.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace infinicache::proxy {

struct ExpiryUnit {
  std::chrono::milliseconds unit;
  bool absolute;  // since the Unix epoch; else from now

  friend bool operator==(const ExpiryUnit&, const ExpiryUnit&) = default;
};

// EX, PX, EXAT and PXAT, in any case.
std::optional<ExpiryUnit> ParseExpiryUnit(std::string_view word);

// The expiry as Unix milliseconds. `positive_only`: zero and less are errors, as in SET; else they
// are times long past, as in EXPIRE. Errors carry the RESP error in Redis's words for `command`.
Result<WallMillis> ParseExpiry(std::string_view number, ExpiryUnit unit, WallMillis now,
                               std::string_view command, bool positive_only = true);

}  // namespace infinicache::proxy
