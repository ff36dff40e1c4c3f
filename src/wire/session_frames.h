// The session's messages, on the control link: PING and PONG, and BYE with its totals; and what a
// node's new instance is told first.
//
//   kPing  request = session
//   kPong  request = session, object = instance, version = microseconds that the session runs on
//          for certain, offset = bytes used, length = chunks
//   kBye   request = session, object = instance, offset = bytes used, length = chunks;
//          metadata: requests that were finished, microseconds since the session's start (16 bytes)
//   kSince version = the newest one that anybody was given when the instance became its node's
//
// Thread-safety: free functions on values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "wire/frame.h"

namespace infinicache::wire {

// How full the node is.
struct NodeFill {
  std::uint64_t bytes_used = 0;
  std::uint64_t chunks = 0;
};

struct Pong {
  SessionId session;
  InstanceId instance;
  Duration runs_for{0};  // from the sending on; whole microseconds, not negative
  NodeFill fill;
};

struct ByeTotals {
  std::uint64_t requests = 0;
  Duration elapsed{0};  // whole microseconds, not negative
  friend bool operator==(const ByeTotals&, const ByeTotals&) = default;
};

FrameHeader EncodePing(SessionId session);
FrameHeader EncodePong(const Pong& pong);
Pong DecodePong(const FrameHeader& header);
FrameHeader EncodeSince(Version newest);
// The metadata follows by EncodeByeTotals.
FrameHeader EncodeBye(SessionId session, InstanceId instance, const NodeFill& fill);
std::string EncodeByeTotals(const ByeTotals& totals);
// Errors: kProtocol for another length.
Result<ByeTotals> ParseByeTotals(std::string_view bytes);

}  // namespace infinicache::wire
