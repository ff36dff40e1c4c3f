// Mutual authentication at the start of a link, by the pool's secret.
//
//   dialer                                     acceptor
//     kHello     nonce_d (16 bytes)       ─▶
//                                         ◀─   kChallenge  nonce_a (16), proof_a (32)
//     kAuth      proof_d (32)             ─▶
//     kWelcome   the node's status: from whoever is the node
//
// proof_x = HMAC-SHA256(secret, "infinicache link 1" | role | nonce_d | nonce_a): each side proves
// that it knows the secret without sending it, and a recorded exchange cannot be replayed. The
// protocol version is part of the label: peers of different versions fail here, with a message that
// says so. Who dials depends on the platform (platform::Traits::inbound).
//
// A proxy has several links to an instance, and the dialer says by a number which one this is:
// kControlLink carries the session's messages, the numbers above it belong to the proxy's data
// loops. kSyncLink is between two instances, directly or through the proxy's relay.
//
// Errors: kUnauthenticated (wrong secret, or another version), kProtocol (not our protocol),
// kUnavailable, kDeadlineExceeded. A socket whose handshake failed is of no further use.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "net/frame_reader.h"
#include "net/socket.h"
#include "net/task.h"
#include "wire/node_status.h"

namespace infinicache::net {

inline constexpr std::uint16_t kControlLink = 0;
inline constexpr std::uint16_t kFirstDataLink = 1;
inline constexpr std::uint16_t kSyncLink = 0xFFFF;

// The proxy dials the node. Returns the node's status.
Task<Result<wire::NodeStatus>> HandshakeAsDialer(Socket& socket, FrameReader& reader,
                                                 std::string_view secret, TimePoint deadline,
                                                 std::uint16_t link_number = kFirstDataLink);

// The node was dialled; it sends `status` at the end. Returns the link's number.
Task<Result<std::uint16_t>> HandshakeAsAcceptor(Socket& socket, FrameReader& reader,
                                                std::string_view secret,
                                                const wire::NodeStatus& status, TimePoint deadline);

// The node dials the proxy, and sends `status` at the end. A proxy that does not accept our proof
// closes the link afterwards.
Task<Status> HandshakeAsDialingNode(Socket& socket, FrameReader& reader, std::string_view secret,
                                    const wire::NodeStatus& status, std::uint16_t link_number,
                                    TimePoint deadline);

struct ArrivedNode {
  wire::NodeStatus status;
  std::uint16_t link_number = kControlLink;
};

// The proxy was dialled by a node.
Task<Result<ArrivedNode>> HandshakeAsAcceptingProxy(Socket& socket, FrameReader& reader,
                                                    std::string_view secret, TimePoint deadline);

// Sends one frame made of `header` and `meta` as its whole payload.
Task<Status> SendMetaFrame(Socket& socket, wire::FrameHeader header, std::string_view meta);

}  // namespace infinicache::net
