// How the pool dials instances that accept connections.
#pragma once

#include <chrono>

#include "base/ids.h"
#include "base/result.h"
#include "net/socket.h"
#include "wire/node_status.h"

namespace infinicache::pool {

// For the connect and the handshake.
inline constexpr auto kDialTimeout = std::chrono::seconds(3);
inline constexpr auto kDialBackoffMin = std::chrono::milliseconds(10);
inline constexpr auto kDialBackoffMax = std::chrono::seconds(2);

// Whether who was dialled at `address` is the one that should be there: another instance may have
// taken its port. Errors: kUnavailable.
Status CheckDialled(const wire::NodeStatus& status, NodeId node, InstanceId instance,
                    const net::HostPort& address);

}  // namespace infinicache::pool
