// Streams an object, or a range of it, to a client.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cache/object.h"
#include "cache/worker.h"
#include "net/socket.h"

namespace infinicache::cache {

struct SendResult {
  enum class Outcome : std::uint8_t {
    kDone,     // all of it is sent, or appended to the output
    kMissing,  // the object cannot be read; nothing of this reply was sent
    kBroken,   // the reply was cut short: the connection must be closed
  };
  Outcome outcome = Outcome::kDone;
  Error error;  // unless kDone
};

// Replies up to this size are appended to the output, to go out with what else is there.
inline constexpr std::uint64_t kCoalescedBytesMax = 32 * kKiB;

// Sends `output` (replies that wait), then `head`, the object's bytes [offset, offset + length),
// then `tail`, and clears `output`; or appends all to `output` if it is short. Nothing is sent
// before the first row is at hand, so that an object that turns out to be lost can still be
// answered as a miss. REQUIRES: the range lies within the object.
net::Task<SendResult> SendObject(Worker& worker, ObjectRef record, std::uint64_t offset,
                                 std::uint64_t length, net::Socket& client, std::string& output,
                                 std::string_view head, std::string_view tail);

}  // namespace infinicache::cache
