#include "wire/node_status.h"

#include <cstring>

namespace infinicache::wire {
namespace {

constexpr char kBlockVersion = 1;
constexpr std::size_t kBlockBytes = 1 + 4 + 4 * 8;

void AppendLittleEndian(std::string& out, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i)
    out.push_back(static_cast<char>((value >> (8 * i)) & 0xFF));
}

std::uint64_t ReadLittleEndian(std::string_view& bytes, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    value |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  bytes.remove_prefix(count);
  return value;
}

}  // namespace

std::string EncodeNodeStatus(const NodeStatus& status) {
  std::string out(1, kBlockVersion);
  AppendLittleEndian(out, status.node.value(), 4);
  AppendLittleEndian(out, status.instance.value(), 8);
  AppendLittleEndian(out, status.bytes_limit, 8);
  AppendLittleEndian(out, status.bytes_used, 8);
  AppendLittleEndian(out, status.chunks, 8);
  return out;
}

Result<NodeStatus> ParseNodeStatus(std::string_view bytes) {
  if (bytes.size() != kBlockBytes || bytes[0] != kBlockVersion) {
    return Fail(ErrorCode::kProtocol, "node status block has another version or length");
  }
  bytes.remove_prefix(1);
  NodeStatus status;
  status.node = NodeId(static_cast<std::uint32_t>(ReadLittleEndian(bytes, 4)));
  status.instance = InstanceId(ReadLittleEndian(bytes, 8));
  status.bytes_limit = ReadLittleEndian(bytes, 8);
  status.bytes_used = ReadLittleEndian(bytes, 8);
  status.chunks = ReadLittleEndian(bytes, 8);
  return status;
}

}  // namespace infinicache::wire
