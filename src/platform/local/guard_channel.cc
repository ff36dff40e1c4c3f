#include "platform/local/guard_channel.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace infinicache::platform {
namespace {

constexpr int kBacklog = 8;
constexpr std::size_t kControlBytes = CMSG_SPACE(sizeof(int) * kGuardDescriptorsMax);

tl::unexpected<Error> SocketError(std::string_view what) {
  return Fail(ErrorCode::kUnavailable, fmt::format("{}: {}", what, std::strerror(errno)));
}

struct Address {
  sockaddr_un name{};
  socklen_t bytes = 0;
};

// The leading zero byte makes it an abstract name.
Address AddressOf(const std::string& name) {
  Address address;
  address.name.sun_family = AF_UNIX;
  const std::size_t length = std::min(name.size(), sizeof(address.name.sun_path) - 1);
  std::memcpy(address.name.sun_path + 1, name.data(), length);
  address.bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
  return address;
}

bool IsReadable(int socket, Duration patience) {
  pollfd readable{socket, POLLIN, 0};
  const auto millis = std::chrono::ceil<std::chrono::milliseconds>(patience).count();
  int count = 0;
  do {
    count = poll(&readable, 1, static_cast<int>(millis));
  } while (count < 0 && errno == EINTR);
  return count == 1;
}

std::vector<UniqueFd> TakeDescriptors(msghdr& message) {
  std::vector<UniqueFd> descriptors;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      descriptors.emplace_back(fd);
    }
  }
  return descriptors;
}

}  // namespace

std::string GuardMessage::Text(std::string_view name) const {
  const boost::json::value* value = body.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

std::int64_t GuardMessage::Number(std::string_view name) const {
  const boost::json::value* value = body.if_contains(name);
  return value != nullptr && value->is_int64() ? value->get_int64() : 0;
}

Status SendToPeer(int socket, const boost::json::object& body, std::span<const int> descriptors) {
  std::string text = boost::json::serialize(body);
  if (text.size() > kGuardMessageBytesMax || descriptors.size() > kGuardDescriptorsMax)
    return Fail(ErrorCode::kTooLarge, "a message to or from the nodes' guard is too large");
  iovec piece{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, kControlBytes> control{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* const part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(part), descriptors.data(), descriptors.size_bytes());
  }
  if (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return SocketError("sendmsg");
  return {};
}

Result<GuardMessage> ReceiveFromPeer(int socket, Duration patience) {
  if (!IsReadable(socket, patience)) {
    return Fail(ErrorCode::kDeadlineExceeded,
                fmt::format("no answer within {} ms", patience / std::chrono::milliseconds(1)));
  }
  std::string text(kGuardMessageBytesMax, '\0');
  iovec piece{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, kControlBytes> control{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t bytes = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (bytes < 0) return SocketError("recvmsg");
  if (bytes == 0) return Fail(ErrorCode::kUnavailable, "the peer has ended");
  GuardMessage received;
  received.descriptors = TakeDescriptors(message);
  boost::system::error_code error;
  const boost::json::value value =
      boost::json::parse({text.data(), static_cast<std::size_t>(bytes)}, error);
  if (error || !value.is_object() || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
    return Fail(ErrorCode::kProtocol, "a message is not what was expected");
  received.body = value.get_object();
  return received;
}

Result<UniqueFd> ListenAsGuard(const std::string& name) {
  UniqueFd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.valid()) return SocketError("socket");
  const Address address = AddressOf(name);
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address.name), address.bytes) != 0)
    return SocketError("bind");
  if (listen(listener.get(), kBacklog) != 0) return SocketError("listen");
  return listener;
}

Result<UniqueFd> ConnectToGuard(const std::string& name) {
  // Its connect must not wait for a guard whose queue is full.
  UniqueFd connection(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!connection.valid()) return SocketError("socket");
  const Address address = AddressOf(name);
  if (connect(connection.get(), reinterpret_cast<const sockaddr*>(&address.name), address.bytes) !=
      0)
    return SocketError("connect");
  return connection;
}

PeerProcess PeerOf(int socket) {
  ucred credentials{};
  socklen_t bytes = sizeof(credentials);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) return {};
  return {credentials.pid, credentials.uid == geteuid()};
}

}  // namespace infinicache::platform
