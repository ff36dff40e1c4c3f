// Durations as people write and read them.
//
// Thread-safety: pure functions. Errors: kInvalidArgument, with the text and an example.
#pragma once

#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace infinicache::app {

// Reads "250ms", "5s", "1.5 s", "2m", "1h". A number without a unit is an error unless it is 0: it
// would mean seconds to one reader and milliseconds to the next.
Result<Duration> ParseDuration(std::string_view text);

// A text that ParseDuration reads back exactly, to the millisecond: "5s", "1500ms", "10m".
std::string PrintDuration(Duration duration);

// For people, two units at most: "340ms", "12s", "3m 20s", "2h 5m", "4d 3h".
std::string DescribeDuration(Duration duration);

}  // namespace infinicache::app
