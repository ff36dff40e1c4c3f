// TCP sockets on an event loop.
//
// Socket is a thin, non-blocking wrapper: Try* calls never wait and never suspend; the Task calls
// suspend until they can go on. One reader and one writer coroutine may use a socket at a time. End
// of stream is kUnavailable ("connection closed"), however often it is read.
//
// Close makes suspended calls fail with kCancelled. A Socket must not be destroyed while a call on
// it is suspended.
#pragma once

#include <sys/uio.h>

#include <boost/asio/ip/tcp.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "net/event_loop.h"
#include "net/shared_rate.h"
#include "net/task.h"

namespace infinicache::net {

// A numeric IP address or a host name, with a port: "127.0.0.1:6378", "[::1]:6378".
struct HostPort {
  std::string host;
  std::uint16_t port = 0;

  std::string ToString() const;
  friend bool operator==(const HostPort&, const HostPort&) = default;
};

// Errors: kInvalidArgument with the text and an example.
Result<HostPort> ParseHostPort(std::string_view text);

struct SocketOptions {
  // Kernel buffers each way; 0 leaves them to autotuning, which a real network's bandwidth-delay
  // product needs. Between processes of one machine small buffers keep the bytes in flight within
  // the L2 cache.
  int buffer_bytes = 0;
  // SO_MAX_PACING_RATE in bytes per second; 0 is unlimited.
  std::uint64_t pacing_bytes_per_second = 0;
  // What is moved in either direction is paid for here; nullptr is unlimited.
  std::shared_ptr<SharedRate> shared_rate = nullptr;
};

using TcpSocket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, Executor>;
using TcpAcceptor = boost::asio::basic_socket_acceptor<boost::asio::ip::tcp, Executor>;

class Socket {
 public:
  explicit Socket(EventLoop& loop);
  Socket(EventLoop& loop, TcpSocket socket);
  Socket(Socket&&) = default;

  // Connects and sets TCP_NODELAY. Errors: kUnavailable (refused, unreachable), kDeadlineExceeded.
  static Task<Result<Socket>> Connect(EventLoop& loop, const HostPort& peer, SocketOptions options,
                                      TimePoint deadline);

  // Applies `options`. On loopback it also selects a loss-based congestion control, since a pacing
  // one (bbr) halves the throughput of a local hop.
  void Configure(const SocketOptions& options);

  // Reads at least one byte into `buffers`.
  Task<Result<std::size_t>> ReadSome(std::span<const iovec> buffers);
  Task<Result<std::size_t>> ReadSome(std::span<std::byte> buffer);
  // Fills `buffer`.
  Task<Status> ReadAll(std::span<std::byte> buffer);
  // Sends all of `buffers`. The array is consumed: its entries are advanced as bytes go out. With
  // `more` the kernel may hold back a last, short segment: further bytes follow at once.
  Task<Status> WriteAll(std::span<iovec> buffers, bool more = false);

  // One non-blocking call each. 0 means "would block", or that the shared rate has to be awaited,
  // which the next Wait* does.
  Result<std::size_t> TryRead(std::span<const iovec> buffers);
  Result<std::size_t> TryWrite(std::span<const iovec> buffers, bool more = false);

  // Suspends until the socket is readable/writable, or failed (the next Try* tells).
  Task<Status> WaitReadable();
  Task<Status> WaitWritable();

  // Gives the descriptor away, for a Socket on another loop. REQUIRES: no call is suspended.
  int Release();
  // The opposite. REQUIRES: `fd` is a connected TCP socket.
  static Socket Adopt(EventLoop& loop, int fd);

  void Close();
  // Ends the connection in both directions but keeps the descriptor: suspended calls fail soon.
  // Safe while they run.
  void Shutdown();
  bool is_open() const { return socket_.is_open(); }
  // Bytes moved by the calls above; whoever moves bytes by hand adds them.
  std::uint64_t bytes_read() const { return bytes_read_; }
  std::uint64_t bytes_written() const { return bytes_written_; }
  void AddBytesRead(std::uint64_t bytes) { bytes_read_ += bytes; }
  void AddBytesWritten(std::uint64_t bytes) { bytes_written_ += bytes; }
  int fd() { return socket_.native_handle(); }
  std::string peer_address() const;
  std::string local_address() const;
  bool peer_is_loopback() const;
  EventLoop& loop() { return *loop_; }

 private:
  // Counts a read; remembers the end of the stream, after which Asio would wait for ever.
  Result<std::size_t> FinishRead(const boost::system::error_code& error, std::size_t bytes);

  // The shared rate lets nothing through at present.
  bool IsThrottled() const { return rate_ && rate_->Debt(EventLoop::Now()) > Duration(0); }
  void Pay(std::uint64_t bytes) {
    if (rate_) rate_->Pay(bytes, EventLoop::Now());
  }
  Task<> AwaitRate();

  EventLoop* loop_;
  TcpSocket socket_;
  std::shared_ptr<SharedRate> rate_;
  bool read_ended_ = false;
  std::uint64_t bytes_read_ = 0;
  std::uint64_t bytes_written_ = 0;
};

// Advances `buffers` past `bytes` consumed; returns the part that is left.
std::span<iovec> Advance(std::span<iovec> buffers, std::size_t bytes);

inline iovec ToIovec(std::string_view text) {
  return {const_cast<char*>(text.data()), text.size()};
}
inline iovec ToIovec(std::span<const std::byte> bytes) {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

class Listener {
 public:
  explicit Listener(EventLoop& loop);
  // Port 0 takes a free one. Errors: kInvalidArgument (host does not resolve), kUnavailable (in
  // use, not permitted) with the address and the remedy.
  Status Listen(const HostPort& address);
  // Accepts one connection, as a socket of `owner`'s loop.
  Task<Result<Socket>> Accept(EventLoop& owner);
  void Close();
  HostPort address() const;

 private:
  EventLoop& loop_;
  TcpAcceptor acceptor_;
};

}  // namespace infinicache::net
