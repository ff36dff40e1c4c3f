// Why objects left the cache other than by a client's DEL or overwriting: counted by cause, and
// told to operators.
//
// Every departure has one cause and is counted once. Losses of single objects are also named, so
// that an operator sees which key went with which instances; what leaves in bulk (evicted, expired,
// flushed, torn) is told in sums. At most kNamedMax losses are named between two calls of Take; the
// others are in its sums, so that a mass loss floods nobody.
//
// Thread-safety: all members from any thread; Take by one caller. Cost: Count is two relaxed adds;
// AddLoss takes a lock and copies the key.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/histogram.h"
#include "pool/node_state.h"

namespace infinicache::cache {

enum class GoneCause : std::uint8_t {
  kReclaimed,  // fewer than d of its chunks survive: their instances ended
  kCorrupt,    // without chunks that turned out to be corrupt, fewer than d survive
  kEvicted,    // left to make room
  kExpired,    // its time had come
  kFlushed,    // by FLUSHALL or FLUSHDB
  kTorn,       // found incomplete at a rebuild: its write or delete was under way
};
inline constexpr std::size_t kGoneCauses = 6;
// "reclaimed" and so on: a label of metrics and part of the admin API.
std::string_view GoneCauseName(GoneCause cause);

struct GoneCounters {
  std::array<Counter, kGoneCauses> objects{};
  std::array<Counter, kGoneCauses> bytes{};  // as users see them

  std::uint64_t Objects(GoneCause cause) const {
    return Read(objects[static_cast<std::size_t>(cause)]);
  }
  std::uint64_t Bytes(GoneCause cause) const {
    return Read(bytes[static_cast<std::size_t>(cause)]);
  }
  // Objects that were lost against everybody's will.
  std::uint64_t Lost() const {
    return Objects(GoneCause::kReclaimed) + Objects(GoneCause::kCorrupt);
  }
};

class GoneLog {
 public:
  static constexpr std::size_t kNamedMax = 32;

  struct Sum {
    std::uint64_t objects = 0;
    std::uint64_t bytes = 0;
  };
  struct Loss {
    GoneCause cause = GoneCause::kReclaimed;
    std::string key;  // printable, bounded
    std::uint64_t bytes = 0;
    std::vector<pool::Place> chunks;  // where the chunks were that are gone
  };
  struct News {
    std::vector<Loss> losses;
    std::array<Sum, kGoneCauses> others;  // what `losses` does not name, by cause
  };

  // REQUIRES: `counters` outlive the log.
  explicit GoneLog(GoneCounters& counters) : counters_(counters) {}

  void Count(GoneCause cause, std::uint64_t objects, std::uint64_t bytes);
  // One object that is lost.
  void AddLoss(GoneCause cause, std::string_view key, std::uint64_t bytes,
               std::vector<pool::Place> chunks);
  // What has left since the last call.
  News Take();

 private:
  GoneCounters& counters_;
  std::mutex mutex_;  // guards the rest
  std::vector<Loss> losses_;
  std::array<Sum, kGoneCauses> taken_;
};

// `key` as a log can show it: at most 64 bytes of it, with what is not printable ASCII as \xNN.
std::string PrintableKey(std::string_view key);

}  // namespace infinicache::cache
