#include "load_connection.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace infinicache::bench {
namespace {

// Larger calls gain nothing, and a receive of 1 MiB still leaves the L2 cache to the server.
constexpr std::size_t kReceiveUnit = 1U << 20;
constexpr long kTimeoutSeconds = 60;

std::string_view AsText(const std::byte* data, std::size_t bytes) {
  return {reinterpret_cast<const char*>(data), bytes};
}

tl::unexpected<Error> UnexpectedReply(std::string_view reply) {
  reply = reply.substr(0, std::min<std::size_t>(reply.find('\r'), 120));
  return Fail(ErrorCode::kProtocol, fmt::format("unexpected reply \"{}\"", reply));
}

}  // namespace

KeyFrames MakeKeyFrames(Protocol protocol, std::string_view key, std::size_t value_bytes) {
  if (protocol == Protocol::kMemcached) {
    return {.get_request = fmt::format("get {}\r\n", key),
            .get_reply_head = fmt::format("VALUE {} 0 {}\r\n", key, value_bytes),
            .set_request_head = fmt::format("set {} 0 0 {}\r\n", key, value_bytes)};
  }
  return {.get_request = fmt::format("*2\r\n$3\r\nGET\r\n${}\r\n{}\r\n", key.size(), key),
          .get_reply_head = fmt::format("${}\r\n", value_bytes),
          .set_request_head =
              fmt::format("*3\r\n$3\r\nSET\r\n${}\r\n{}\r\n${}\r\n", key.size(), key, value_bytes)};
}

CommonFrames MakeCommonFrames(Protocol protocol) {
  if (protocol == Protocol::kMemcached) {
    return {.get_reply_tail = "\r\nEND\r\n", .set_request_tail = "\r\n", .set_reply = "STORED\r\n"};
  }
  return {.get_reply_tail = "\r\n", .set_request_tail = "\r\n", .set_reply = "+OK\r\n"};
}

Status LoadConnection::Connect() {
  Close();
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port_);
  if (inet_pton(AF_INET, address_.c_str(), &to.sin_addr) != 1) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("{} is no IPv4 address", address_));
  }
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return tl::make_unexpected(ErrnoError("socket", errno));
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const timeval timeout{.tv_sec = kTimeoutSeconds, .tv_usec = 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    return tl::make_unexpected(ErrnoError(fmt::format("connect to {}:{}", address_, port_), errno));
  }
  return {};
}

void LoadConnection::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Result<const std::byte*> LoadConnection::Get(const KeyFrames& key, std::size_t value_bytes,
                                             std::byte* buffer) {
  iovec request{const_cast<char*>(key.get_request.data()), key.get_request.size()};
  if (Status sent = SendAll(&request, 1); !sent) return tl::make_unexpected(sent.error());

  const std::string_view head = key.get_reply_head;
  const std::string_view tail = frames_.get_reply_tail;
  const std::size_t total = head.size() + value_bytes + tail.size();
  Result<std::size_t> received = ReceiveLine(buffer, total);
  if (!received) return tl::make_unexpected(received.error());
  std::size_t have = *received;
  if (!AsText(buffer, have).starts_with(head)) return UnexpectedReply(AsText(buffer, have));
  while (have < total) {
    Result<std::size_t> more = ReceiveSome(buffer + have, total - have);
    if (!more) return tl::make_unexpected(more.error());
    have += *more;
  }
  const std::byte* value = buffer + head.size();
  if (AsText(value + value_bytes, tail.size()) != tail) {
    return Fail(ErrorCode::kProtocol, "the value is not followed by the end of a reply");
  }
  return value;
}

Status LoadConnection::Set(const KeyFrames& key, const std::byte* value, std::size_t value_bytes) {
  std::array<iovec, 3> parts{{
      {const_cast<char*>(key.set_request_head.data()), key.set_request_head.size()},
      {const_cast<std::byte*>(value), value_bytes},
      {const_cast<char*>(frames_.set_request_tail.data()), frames_.set_request_tail.size()},
  }};
  if (Status sent = SendAll(parts.data(), static_cast<int>(parts.size())); !sent) return sent;
  std::array<std::byte, 256> reply{};
  Result<std::size_t> have = ReceiveLine(reply.data(), reply.size());
  if (!have) return tl::make_unexpected(have.error());
  const std::string_view text = AsText(reply.data(), *have);
  if (text != frames_.set_reply) return UnexpectedReply(text);
  return {};
}

Status LoadConnection::SendAll(iovec* parts, int count) {
  while (count > 0) {
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = static_cast<std::size_t>(count);
    // sendmsg is writev that can be told not to raise SIGPIPE.
    const ssize_t result = sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) return tl::make_unexpected(ErrnoError("send", errno));
    auto sent = static_cast<std::size_t>(result);
    while (count > 0 && sent >= parts->iov_len) {
      sent -= parts->iov_len;
      ++parts;
      --count;
    }
    if (count > 0) {
      parts->iov_base = static_cast<char*>(parts->iov_base) + sent;
      parts->iov_len -= sent;
    }
  }
  return {};
}

Result<std::size_t> LoadConnection::ReceiveSome(std::byte* to, std::size_t most) {
  while (true) {
    const ssize_t result = recv(fd_, to, std::min(most, kReceiveUnit), 0);
    if (result > 0) return static_cast<std::size_t>(result);
    if (result == 0) return Fail(ErrorCode::kUnavailable, "the server closed the connection");
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      return Fail(ErrorCode::kDeadlineExceeded, fmt::format("no reply in {} s", kTimeoutSeconds));
    }
    return tl::make_unexpected(ErrnoError("receive", errno));
  }
}

Result<std::size_t> LoadConnection::ReceiveLine(std::byte* buffer, std::size_t room) {
  std::size_t have = 0;
  while (true) {
    Result<std::size_t> more = ReceiveSome(buffer + have, room - have);
    if (!more) return more;
    if (std::memchr(buffer + have, '\n', *more) != nullptr) return have + *more;
    have += *more;
    if (have == room) return UnexpectedReply(AsText(buffer, have));
  }
}

}  // namespace infinicache::bench
