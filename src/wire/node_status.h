// What a node says of itself when a link opens (kWelcome) and when it is asked (kStatsReply): the
// metadata block of these frames. 37 bytes: a version byte and the fields in little-endian order.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"

namespace infinicache::wire {

struct NodeStatus {
  NodeId node;
  InstanceId instance;
  std::uint64_t bytes_limit = 0;  // memory for chunks and their metadata
  std::uint64_t bytes_used = 0;
  std::uint64_t chunks = 0;

  friend bool operator==(const NodeStatus&, const NodeStatus&) = default;
};

std::string EncodeNodeStatus(const NodeStatus& status);

// Errors: kProtocol for a block of another version or length.
Result<NodeStatus> ParseNodeStatus(std::string_view bytes);

}  // namespace infinicache::wire
