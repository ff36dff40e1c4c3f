#include "pool/dialling.h"

#include <fmt/format.h>

namespace infinicache::pool {

Status CheckDialled(const wire::NodeStatus& status, NodeId node, InstanceId instance,
                    const net::HostPort& address) {
  if (status.node == node && status.instance == instance) return {};
  return Fail(ErrorCode::kUnavailable,
              fmt::format("{} is not the instance expected there", address.ToString()));
}

}  // namespace infinicache::pool
