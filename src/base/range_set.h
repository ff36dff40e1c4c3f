// A set of numbers as ranges of them, none of which touches another: what of some memory is free,
// or lent.
//
// Thread-safety: none. Cost: O(log n) each, n ranges.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <utility>

#include "base/check.h"

namespace infinicache {

class RangeSet {
 public:
  using Ranges = std::map<std::uint64_t, std::uint64_t>;  // begin to end

  const Ranges& ranges() const { return ranges_; }
  std::uint64_t bytes() const { return bytes_; }  // in all ranges

  // Adds [begin, begin + bytes). REQUIRES: nothing of it is in the set; bytes > 0.
  void Add(std::uint64_t begin, std::uint64_t bytes) {
    const auto [at, inserted] = ranges_.emplace(begin, begin + bytes);
    CHECK(inserted);
    bytes_ += bytes;
    if (const auto next = std::next(at); next != ranges_.end() && next->first == at->second) {
      at->second = next->second;
      ranges_.erase(next);
    }
    if (at != ranges_.begin() && std::prev(at)->second == at->first) {
      std::prev(at)->second = at->second;
      ranges_.erase(at);
    }
  }

  // Whether all of [begin, begin + bytes) is in the set. Any numbers.
  bool Has(std::uint64_t begin, std::uint64_t bytes) const {
    const auto behind = ranges_.upper_bound(begin);
    if (behind == ranges_.begin()) return false;
    const std::uint64_t end = std::prev(behind)->second;
    return bytes <= end - std::min(begin, end);
  }

  // REQUIRES: Has(begin, bytes), bytes > 0.
  void Remove(std::uint64_t begin, std::uint64_t bytes) {
    CHECK(Has(begin, bytes));
    const auto at = std::prev(ranges_.upper_bound(begin));
    const std::uint64_t end = at->second;
    if (at->first < begin) {
      at->second = begin;
      if (begin + bytes < end) ranges_.emplace(begin + bytes, end);
    } else if (begin + bytes < end) {
      const auto behind = std::next(at);
      auto node = ranges_.extract(at);  // not freed and allocated anew: taken bit by bit is usual
      node.key() = begin + bytes;
      ranges_.insert(behind, std::move(node));
    } else {
      ranges_.erase(at);
    }
    bytes_ -= bytes;
  }

 private:
  Ranges ranges_;
  std::uint64_t bytes_ = 0;
};

}  // namespace infinicache
