// How far the rebuilding of the directory is: which keys can be served.
//
// Keys are rebuilt in the order of their objects (hashes). Thread-safety: written by the
// rebuilder's loop, read from any thread. Cost: one or two atomic loads.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/ids.h"

namespace infinicache::cache {

class RebuildProgress {
 public:
  void Start() {
    settled_below_.store(0, std::memory_order_relaxed);
    versions_known_.store(false, std::memory_order_relaxed);
    loading_.store(true, std::memory_order_release);
  }
  // New versions are above all that nodes hold from now on.
  void NoteVersions() { versions_known_.store(true, std::memory_order_release); }
  void SetSettledBelow(ObjectId object) {
    settled_below_.store(object.value(), std::memory_order_release);
  }
  void Finish() { loading_.store(false, std::memory_order_release); }

  // A rebuild is under way.
  bool loading() const { return loading_.load(std::memory_order_acquire); }
  bool versions_known() const { return versions_known_.load(std::memory_order_acquire); }
  // Whether the directory has what there is of the key.
  bool IsSettled(ObjectId object) const {
    return !loading() || object.value() < settled_below_.load(std::memory_order_acquire);
  }
  // Of all keys, those that are settled: 0 to 1.
  double share() const {
    if (!loading()) return 1;
    return static_cast<double>(settled_below_.load(std::memory_order_relaxed)) / 0x1p64;
  }

 private:
  std::atomic<bool> loading_{false};
  std::atomic<bool> versions_known_{true};
  std::atomic<std::uint64_t> settled_below_{0};
};

}  // namespace infinicache::cache
