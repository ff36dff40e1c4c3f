// What a node says of itself when a link opens (kWelcome) and when it is asked (kStatsReply): the
// metadata block of these frames. 45 bytes: a version byte and the fields in little-endian order.
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
  // Where a process of the same machine finds the memory that the chunks are in, if it may read it
  // by itself (base/shared_memory.h): the node's process number, or 0, and its descriptor.
  std::uint32_t memory_pid = 0;
  std::uint32_t memory_fd = 0;

  friend bool operator==(const NodeStatus&, const NodeStatus&) = default;
};

// Of the memory that an instance shares.
std::string MemoryName(InstanceId instance);

std::string EncodeNodeStatus(const NodeStatus& status);

// Errors: kProtocol for a block of another version or length.
Result<NodeStatus> ParseNodeStatus(std::string_view bytes);

}  // namespace infinicache::wire
