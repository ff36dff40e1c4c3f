#include "net/socket.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <utility>

#include "base/check.h"
#include "net/timer.h"

namespace infinicache::net {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

Error SocketError(std::string_view what, const error_code& error) {
  if (error == boost::asio::error::operation_aborted)
    return {ErrorCode::kCancelled, fmt::format("{}: cancelled", what)};
  return {ErrorCode::kUnavailable, fmt::format("{}: {}", what, error.message())};
}

tl::unexpected<Error> StreamEnded() {
  return Fail(ErrorCode::kUnavailable, "read: connection closed");
}

bool WouldBlock(int error_number) {
  return error_number == EAGAIN || error_number == EWOULDBLOCK;
}

Result<tcp::endpoint> Resolve(EventLoop& loop, const HostPort& address) {
  error_code error;
  const auto numeric = boost::asio::ip::make_address(address.host, error);
  if (!error) return tcp::endpoint(numeric, address.port);
  tcp::resolver resolver(loop.context());
  const auto results = resolver.resolve(address.host, std::to_string(address.port), error);
  if (error || results.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("host '{}' does not resolve: {}", address.host, error.message()));
  }
  return results.begin()->endpoint();
}

}  // namespace

std::string HostPort::ToString() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

Result<HostPort> ParseHostPort(std::string_view text) {
  const auto invalid = [&] {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}' is not an address; write for example 127.0.0.1:6378", text));
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return invalid();
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return invalid();
  }
  HostPort result{std::string(host), 0};
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), result.port);
  if (host.empty() || error != std::errc{} || end != port.data() + port.size()) return invalid();
  return result;
}

Socket::Socket(EventLoop& loop) : loop_(&loop), socket_(loop.context()) {}

Socket::Socket(EventLoop& loop, TcpSocket socket) : loop_(&loop), socket_(std::move(socket)) {}

Task<Result<Socket>> Socket::Connect(EventLoop& loop, const HostPort& peer, SocketOptions options,
                                     TimePoint deadline) {
  const auto endpoint = Resolve(loop, peer);
  if (!endpoint) co_return tl::make_unexpected(endpoint.error());
  Socket socket(loop);
  error_code error;
  socket.socket_.open(endpoint->protocol(), error);
  if (error) co_return tl::make_unexpected(SocketError("socket", error));
  socket.Configure(options);

  bool expired = false;
  Timer timer(loop);
  timer.Start(deadline - EventLoop::Now(), [&expired, &socket] {
    expired = true;
    error_code ignored;
    socket.socket_.cancel(ignored);
  });
  const auto [connect_error] = co_await socket.socket_.async_connect(*endpoint, kAsTuple);
  timer.Cancel();
  if (expired) {
    co_return Fail(ErrorCode::kDeadlineExceeded,
                   fmt::format("connect to {}: no answer in time", peer.ToString()));
  }
  if (connect_error) {
    co_return tl::make_unexpected(
        SocketError(fmt::format("connect to {}", peer.ToString()), connect_error));
  }
  socket.Configure(options);
  co_return std::move(socket);
}

void Socket::Configure(const SocketOptions& options) {
  error_code ignored;
  rate_ = options.shared_rate;
  socket_.native_non_blocking(true, ignored);
  socket_.set_option(tcp::no_delay(true), ignored);
  if (options.buffer_bytes > 0) {
    socket_.set_option(boost::asio::socket_base::send_buffer_size(options.buffer_bytes), ignored);
    socket_.set_option(boost::asio::socket_base::receive_buffer_size(options.buffer_bytes),
                       ignored);
  }
  if (options.pacing_bytes_per_second > 0) {
    const std::uint64_t rate = options.pacing_bytes_per_second;
    setsockopt(fd(), SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate));
  } else if (peer_is_loopback()) {
    // Refused for unprivileged processes where the administrator does not allow it; then the
    // default stays.
    static constexpr char kCongestionControl[] = "reno";
    setsockopt(fd(), IPPROTO_TCP, TCP_CONGESTION, kCongestionControl,
               sizeof(kCongestionControl) - 1);
  }
}

Task<Result<std::size_t>> Socket::ReadSome(std::span<const iovec> buffers) {
  CHECK(!buffers.empty() && buffers.size() <= 4);
  if (read_ended_) co_return StreamEnded();
  std::array<boost::asio::mutable_buffer, 4> asio_buffers;
  for (std::size_t i = 0; i < buffers.size(); ++i)
    asio_buffers[i] = {buffers[i].iov_base, buffers[i].iov_len};
  error_code error;
  std::size_t bytes = 0;
  if (buffers.size() == 1) {
    std::tie(error, bytes) = co_await socket_.async_read_some(asio_buffers[0], kAsTuple);
  } else {
    std::tie(error, bytes) = co_await socket_.async_read_some(asio_buffers, kAsTuple);
  }
  co_return FinishRead(error, bytes);
}

Task<Result<std::size_t>> Socket::ReadSome(std::span<std::byte> buffer) {
  if (read_ended_) co_return StreamEnded();
  const auto [error, bytes] =
      co_await socket_.async_read_some(boost::asio::buffer(buffer.data(), buffer.size()), kAsTuple);
  co_return FinishRead(error, bytes);
}

Result<std::size_t> Socket::FinishRead(const error_code& error, std::size_t bytes) {
  if (error == boost::asio::error::eof) {
    read_ended_ = true;
    return StreamEnded();
  }
  if (error) return tl::make_unexpected(SocketError("read", error));
  bytes_read_ += bytes;
  return bytes;
}

Task<Status> Socket::ReadAll(std::span<std::byte> buffer) {
  while (!buffer.empty()) {
    const auto bytes = co_await ReadSome(buffer);
    if (!bytes) co_return tl::make_unexpected(bytes.error());
    buffer = buffer.subspan(*bytes);
  }
  co_return Status{};
}

Task<Status> Socket::WriteAll(std::span<iovec> buffers, bool more) {
  buffers = Advance(buffers, 0);
  while (!buffers.empty()) {
    const auto written = TryWrite(buffers, more);
    if (!written) co_return tl::make_unexpected(written.error());
    if (*written == 0) {
      if (auto status = co_await WaitWritable(); !status) co_return status;
      continue;
    }
    buffers = Advance(buffers, *written);
  }
  co_return Status{};
}

Result<std::size_t> Socket::TryRead(std::span<const iovec> buffers) {
  if (IsThrottled()) return 0;
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(buffers.data());
  message.msg_iovlen = buffers.size();
  for (;;) {
    // For one piece recv costs a quarter less.
    const ssize_t bytes = buffers.size() == 1
                              ? recv(fd(), buffers[0].iov_base, buffers[0].iov_len, MSG_DONTWAIT)
                              : recvmsg(fd(), &message, MSG_DONTWAIT);
    if (bytes > 0) {
      Pay(static_cast<std::uint64_t>(bytes));
      bytes_read_ += static_cast<std::uint64_t>(bytes);
      return static_cast<std::size_t>(bytes);
    }
    if (bytes == 0) return StreamEnded();
    if (errno == EINTR) continue;
    if (WouldBlock(errno)) return 0;
    return tl::make_unexpected(ErrnoError("read", errno));
  }
}

Result<std::size_t> Socket::TryWrite(std::span<const iovec> buffers, bool more) {
  if (IsThrottled()) return 0;
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(buffers.data());
  message.msg_iovlen = std::min<std::size_t>(buffers.size(), 512);
  const int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0);
  for (;;) {
    const ssize_t bytes = sendmsg(fd(), &message, flags);
    if (bytes >= 0) {
      Pay(static_cast<std::uint64_t>(bytes));
      bytes_written_ += static_cast<std::uint64_t>(bytes);
      return static_cast<std::size_t>(bytes);
    }
    if (errno == EINTR) continue;
    if (WouldBlock(errno)) return 0;
    return tl::make_unexpected(ErrnoError("write", errno));
  }
}

Task<> Socket::AwaitRate() {
  while (IsThrottled()) co_await loop_->Sleep(rate_->Debt(EventLoop::Now()));
}

Task<Status> Socket::WaitReadable() {
  if (rate_) co_await AwaitRate();
  const auto [error] = co_await socket_.async_wait(TcpSocket::wait_read, kAsTuple);
  if (error) co_return tl::make_unexpected(SocketError("wait", error));
  co_return Status{};
}

Task<Status> Socket::WaitWritable() {
  if (rate_) co_await AwaitRate();
  const auto [error] = co_await socket_.async_wait(TcpSocket::wait_write, kAsTuple);
  if (error) co_return tl::make_unexpected(SocketError("wait", error));
  co_return Status{};
}

int Socket::Release() {
  boost::system::error_code error;
  const int fd = socket_.release(error);
  CHECK(!error, "cannot release a socket: {}", error.message());
  return fd;
}

Socket Socket::Adopt(EventLoop& loop, int fd) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes);
  using boost::asio::ip::tcp;
  TcpSocket socket(loop.context());
  boost::system::error_code error;
  socket.assign(address.ss_family == AF_INET6 ? tcp::v6() : tcp::v4(), fd, error);
  CHECK(!error, "cannot adopt a socket: {}", error.message());
  socket.non_blocking(true, error);
  return {loop, std::move(socket)};
}

void Socket::Close() {
  error_code ignored;
  socket_.close(ignored);
}

void Socket::Shutdown() {
  error_code ignored;
  socket_.shutdown(TcpSocket::shutdown_both, ignored);
}

std::string Socket::peer_address() const {
  error_code error;
  const tcp::endpoint endpoint = socket_.remote_endpoint(error);
  if (error) return "?";
  return HostPort{endpoint.address().to_string(), endpoint.port()}.ToString();
}

std::string Socket::local_address() const {
  error_code error;
  const tcp::endpoint endpoint = socket_.local_endpoint(error);
  if (error) return "?";
  return HostPort{endpoint.address().to_string(), endpoint.port()}.ToString();
}

bool Socket::peer_is_loopback() const {
  error_code error;
  const tcp::endpoint endpoint = socket_.remote_endpoint(error);
  return !error && endpoint.address().is_loopback();
}

std::span<iovec> Advance(std::span<iovec> buffers, std::size_t bytes) {
  while (!buffers.empty() && bytes >= buffers.front().iov_len) {
    bytes -= buffers.front().iov_len;
    buffers = buffers.subspan(1);
  }
  if (!buffers.empty() && bytes > 0) {
    buffers.front().iov_base = static_cast<std::byte*>(buffers.front().iov_base) + bytes;
    buffers.front().iov_len -= bytes;
  }
  return buffers;
}

Listener::Listener(EventLoop& loop) : loop_(loop), acceptor_(loop.context()) {}

Status Listener::Listen(const HostPort& address) {
  const auto endpoint = Resolve(loop_, address);
  if (!endpoint) return tl::make_unexpected(endpoint.error());
  error_code error;
  acceptor_.open(endpoint->protocol(), error);
  if (!error) acceptor_.set_option(TcpAcceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(*endpoint, error);
  if (!error) acceptor_.listen(4096, error);
  if (!error) return {};
  Close();
  const std::string remedy = error == boost::asio::error::address_in_use
                                 ? "another process listens there; stop it or choose another port"
                                 : "choose another address";
  return Fail(ErrorCode::kUnavailable, fmt::format("cannot listen on {}: {}; {}",
                                                   address.ToString(), error.message(), remedy));
}

Task<Result<Socket>> Listener::Accept(EventLoop& owner) {
  auto [error, accepted] = co_await acceptor_.async_accept(owner.context(), kAsTuple);
  if (error) co_return tl::make_unexpected(SocketError("accept", error));
  co_return Socket(owner, std::move(accepted));
}

void Listener::Close() {
  error_code ignored;
  acceptor_.close(ignored);
}

HostPort Listener::address() const {
  error_code error;
  const tcp::endpoint endpoint = acceptor_.local_endpoint(error);
  return {endpoint.address().to_string(), endpoint.port()};
}

}  // namespace infinicache::net
