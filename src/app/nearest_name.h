// "Did you mean …?": the known name that a mistyped one was probably meant to be.
//
// Thread-safety: pure. Cost: |text| * |names in sum|; for command lines and settings, not for data.
#pragma once

#include <span>
#include <string_view>

namespace infinicache::app {

// The name with the fewest insertions, deletions and replacements between it and `text`, or "" when
// all are too far away to be meant.
std::string_view NearestName(std::string_view text, std::span<const std::string_view> names);

}  // namespace infinicache::app
