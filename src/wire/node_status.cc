#include "wire/node_status.h"

#include <fmt/format.h>

#include "wire/little_endian.h"

namespace infinicache::wire {
namespace {

constexpr char kBlockVersion = 2;
constexpr std::size_t kBlockBytes = 1 + 4 + 4 * 8 + 2 * 4;

}  // namespace

std::string MemoryName(InstanceId instance) {
  return fmt::format("infinicache-node-{:016x}", instance.value());
}

std::string EncodeNodeStatus(const NodeStatus& status) {
  std::string out(1, kBlockVersion);
  AppendNumber(status.node.value(), out);
  AppendNumber(status.instance.value(), out);
  AppendNumber(status.bytes_limit, out);
  AppendNumber(status.bytes_used, out);
  AppendNumber(status.chunks, out);
  AppendNumber(status.memory_pid, out);
  AppendNumber(status.memory_fd, out);
  return out;
}

Result<NodeStatus> ParseNodeStatus(std::string_view bytes) {
  if (bytes.size() != kBlockBytes || bytes[0] != kBlockVersion) {
    return Fail(ErrorCode::kProtocol, "node status block has another version or length");
  }
  bytes.remove_prefix(1);
  NodeStatus status;
  status.node = NodeId(TakeNumber<std::uint32_t>(bytes));
  status.instance = InstanceId(TakeNumber<std::uint64_t>(bytes));
  status.bytes_limit = TakeNumber<std::uint64_t>(bytes);
  status.bytes_used = TakeNumber<std::uint64_t>(bytes);
  status.chunks = TakeNumber<std::uint64_t>(bytes);
  status.memory_pid = TakeNumber<std::uint32_t>(bytes);
  status.memory_fd = TakeNumber<std::uint32_t>(bytes);
  return status;
}

}  // namespace infinicache::wire
