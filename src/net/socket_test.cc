#include "net/socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/random.h"
#include "net/testing.h"

namespace infinicache::net {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

// Properties are checked from a fixed seed unless the environment asks for another.
[[maybe_unused]] const int kSeedIsSet = setenv("RC_PARAMS", "seed=20240611", 0);

std::vector<std::byte> RandomContent(std::size_t bytes, Random& random) {
  std::vector<std::byte> content(bytes);
  for (std::byte& byte : content) byte = static_cast<std::byte>(random());
  return content;
}

// `content` in pieces of random length, of which some are empty.
std::vector<iovec> Cut(std::span<std::byte> content, std::size_t piece_bytes_max, Random& random) {
  std::vector<iovec> pieces;
  while (!content.empty()) {
    const std::size_t bytes = std::min<std::size_t>(content.size(), random.Below(piece_bytes_max));
    pieces.push_back(ToIovec(content.first(bytes)));
    content = content.subspan(bytes);
  }
  return pieces;
}

// Sends until the kernel takes no more.
void FillSendBuffer(Socket& socket) {
  const std::vector<std::byte> block(64 * kKiB);
  const iovec piece = ToIovec(block);
  for (;;) {
    const auto written = socket.TryWrite(std::span(&piece, 1));
    ASSERT_TRUE(written) << written.error().message;
    if (*written == 0) return;
  }
}

Task<Status> WriteText(Socket& socket, std::string_view text) {
  iovec piece = ToIovec(text);
  co_return co_await socket.WriteAll(std::span(&piece, 1));
}

int IntOption(Socket& socket, int level, int name) {
  int value = -1;
  socklen_t length = sizeof(value);
  EXPECT_EQ(getsockopt(socket.fd(), level, name, &value, &length), 0);
  return value;
}

// A listener that nobody accepts from, with room for one connection: the kernel leaves whoever
// comes next without an answer.
class CrowdedListener {
 public:
  CrowdedListener() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(fd_, reinterpret_cast<const sockaddr*>(&any), sizeof(any)) == 0);
    CHECK(listen(fd_, 0) == 0);
  }
  ~CrowdedListener() { close(fd_); }

  HostPort address() const {
    sockaddr_in bound{};
    socklen_t length = sizeof(bound);
    CHECK(getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &length) == 0);
    return {"127.0.0.1", ntohs(bound.sin_port)};
  }

 private:
  int fd_;
};

class SocketTest : public testing::Test {
 protected:
  EventLoop loop_{"test"};
};

TEST_F(SocketTest, CarriesManyPiecesOfAnyLengthInOrder) {
  constexpr std::uint64_t kSeed = 5;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  SocketPair pair = ConnectedPair(loop_);
  for (const std::size_t piece_bytes_max : {2, 700, 70'000}) {
    std::vector<std::byte> sent = RandomContent(3000 * piece_bytes_max / 10, random);
    std::vector<iovec> pieces = Cut(sent, piece_bytes_max, random);
    std::vector<std::byte> received(sent.size());
    const std::uint64_t read_before = pair.acceptor.bytes_read();
    const std::uint64_t written_before = pair.dialer.bytes_written();

    Started<Status> reading(loop_, pair.acceptor.ReadAll(received));
    const Status written = RunTask(loop_, pair.dialer.WriteAll(pieces));
    ASSERT_TRUE(written) << written.error().message;
    const Status read = reading.Get();
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_TRUE(received == sent) << "pieces of up to " << piece_bytes_max;
    EXPECT_EQ(pair.acceptor.bytes_read() - read_before, sent.size());
    EXPECT_EQ(pair.dialer.bytes_written() - written_before, sent.size());
  }
}

TEST_F(SocketTest, ReadsIntoSeveralBuffersAtOnce) {
  SocketPair pair = ConnectedPair(loop_);
  ASSERT_TRUE(RunTask(loop_, WriteText(pair.dialer, "abcdefgh")));
  std::array<std::byte, 3> first;
  std::array<std::byte, 1> second;
  std::array<std::byte, 100> third;
  const std::array<iovec, 3> buffers = {ToIovec(first), ToIovec(second), ToIovec(third)};
  const auto bytes = RunTask(loop_, pair.acceptor.ReadSome(buffers));
  ASSERT_TRUE(bytes) << bytes.error().message;
  ASSERT_EQ(*bytes, 8U);
  EXPECT_EQ(std::memcmp(first.data(), "abc", 3), 0);
  EXPECT_EQ(std::memcmp(second.data(), "d", 1), 0);
  EXPECT_EQ(std::memcmp(third.data(), "efgh", 4), 0);
}

TEST_F(SocketTest, TryCallsSayZeroInsteadOfWaiting) {
  SocketPair pair = ConnectedPair(loop_);
  std::array<std::byte, 8> buffer;
  const iovec piece = ToIovec(buffer);
  const auto nothing = pair.acceptor.TryRead(std::span(&piece, 1));
  ASSERT_TRUE(nothing);
  EXPECT_EQ(*nothing, 0U);

  ASSERT_TRUE(RunTask(loop_, WriteText(pair.dialer, "xyz")));
  ASSERT_TRUE(RunTask(loop_, pair.acceptor.WaitReadable()));
  const auto bytes = pair.acceptor.TryRead(std::span(&piece, 1));
  ASSERT_TRUE(bytes);
  EXPECT_EQ(*bytes, 3U);
  FillSendBuffer(pair.dialer);
}

TEST_F(SocketTest, EndOfStreamIsUnavailable) {
  SocketPair pair = ConnectedPair(loop_);
  ASSERT_TRUE(RunTask(loop_, WriteText(pair.dialer, "abc")));
  pair.dialer.Close();
  std::array<std::byte, 4> buffer;
  const iovec piece = ToIovec(buffer);

  const Status cut = RunTask(loop_, pair.acceptor.ReadAll(buffer));
  ASSERT_FALSE(cut) << "four bytes were read where three came";
  EXPECT_EQ(cut.error().code, ErrorCode::kUnavailable);
  const auto some = RunTask(loop_, pair.acceptor.ReadSome(buffer));
  ASSERT_FALSE(some);
  EXPECT_EQ(some.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(some.error().message, HasSubstr("connection closed"));
  const auto tried = pair.acceptor.TryRead(std::span(&piece, 1));
  ASSERT_FALSE(tried);
  EXPECT_EQ(tried.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(tried.error().message, HasSubstr("connection closed"));
}

TEST_F(SocketTest, WritingToAPeerThatIsGoneIsUnavailable) {
  SocketPair pair = ConnectedPair(loop_);
  pair.acceptor.Close();
  // The first bytes go out; the peer's reset makes the following fail.
  std::optional<Error> error;
  while (!error) {
    const Status written = RunTask(loop_, WriteText(pair.dialer, std::string(100'000, 'x')));
    if (!written) error = written.error();
  }
  EXPECT_EQ(error->code, ErrorCode::kUnavailable);
}

TEST_F(SocketTest, CloseMakesSuspendedCallsFailAsCancelled) {
  SocketPair pair = ConnectedPair(loop_);
  std::array<std::byte, 4> buffer;
  Started<Status> reading(loop_, pair.dialer.ReadAll(buffer));
  FillSendBuffer(pair.dialer);
  Started<Status> writing(loop_, WriteText(pair.dialer, "x"));
  RunReady(loop_);
  ASSERT_FALSE(reading.done());
  ASSERT_FALSE(writing.done());
  pair.dialer.Close();
  EXPECT_FALSE(pair.dialer.is_open());
  for (Started<Status>* call : {&reading, &writing}) {
    const Status status = call->Get();
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kCancelled) << status.error().message;
  }
}

TEST_F(SocketTest, ShutdownWakesSuspendedCallsAndKeepsTheDescriptor) {
  SocketPair pair = ConnectedPair(loop_);
  std::array<std::byte, 4> buffer;
  Started<Status> reading(loop_, pair.dialer.ReadAll(buffer));
  FillSendBuffer(pair.dialer);
  Started<Status> writing(loop_, WriteText(pair.dialer, "x"));
  RunReady(loop_);
  ASSERT_FALSE(reading.done());
  ASSERT_FALSE(writing.done());
  pair.dialer.Shutdown();
  EXPECT_TRUE(pair.dialer.is_open());
  EXPECT_FALSE(reading.Get());
  EXPECT_FALSE(writing.Get());
}

TEST_F(SocketTest, AppliesItsOptions) {
  SocketPair pair = ConnectedPair(loop_, {.buffer_bytes = 32 * 1024});
  for (Socket* socket : {&pair.dialer, &pair.acceptor}) {
    EXPECT_EQ(IntOption(*socket, IPPROTO_TCP, TCP_NODELAY), 1);
    // The kernel doubles what it is asked for, for its bookkeeping.
    EXPECT_EQ(IntOption(*socket, SOL_SOCKET, SO_SNDBUF), 64 * 1024);
    EXPECT_EQ(IntOption(*socket, SOL_SOCKET, SO_RCVBUF), 64 * 1024);
    EXPECT_TRUE(socket->peer_is_loopback());
  }
  EXPECT_EQ(pair.dialer.peer_address(), pair.acceptor.local_address());
  EXPECT_EQ(pair.dialer.local_address(), pair.acceptor.peer_address());

  pair.dialer.Configure({.pacing_bytes_per_second = 75'000'000});
  std::uint64_t rate = 0;
  socklen_t length = sizeof(rate);
  ASSERT_EQ(getsockopt(pair.dialer.fd(), SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &length), 0);
  EXPECT_EQ(rate, 75'000'000U);
}

// --- Connect and Listener -----------------------------------------------------------------------

TEST_F(SocketTest, ARefusedConnectionNamesTheAddress) {
  HostPort address;
  {
    Listener listener(loop_);
    ASSERT_TRUE(listener.Listen({"127.0.0.1", 0}));
    address = listener.address();
  }
  const auto socket = RunTask(loop_, Socket::Connect(loop_, address, {}, TestDeadline()));
  ASSERT_FALSE(socket);
  EXPECT_EQ(socket.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(socket.error().message, "connect to " + address.ToString() + ": Connection refused");
}

TEST_F(SocketTest, AConnectionThatIsNotAnsweredEndsAtItsDeadline) {
  const CrowdedListener listener;
  const HostPort address = listener.address();
  const auto first = RunTask(loop_, Socket::Connect(loop_, address, {}, TestDeadline()));
  ASSERT_TRUE(first);
  const auto second =
      RunTask(loop_, Socket::Connect(loop_, address, {}, EventLoop::Now() + milliseconds(30)));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(second.error().message, HasSubstr(address.ToString()));
}

TEST_F(SocketTest, APortInUseIsNamedWithTheRemedy) {
  Listener first(loop_);
  ASSERT_TRUE(first.Listen({"127.0.0.1", 0}));
  const HostPort address = first.address();
  EXPECT_NE(address.port, 0);
  Listener second(loop_);
  const Status status = second.Listen(address);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(status.error().message,
            "cannot listen on " + address.ToString() +
                ": Address already in use; another process listens there; stop it or choose "
                "another port");
  // The one that failed can be used for another port.
  EXPECT_TRUE(second.Listen({"127.0.0.1", 0}));
}

TEST_F(SocketTest, AnAddressThatIsNotOursCannotBeListenedOn) {
  Listener listener(loop_);
  const Status status = listener.Listen({"192.0.2.1", 0});  // a documentation address, RFC 5737
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(status.error().message, HasSubstr("cannot listen on 192.0.2.1:0"));
}

TEST_F(SocketTest, ClosingAListenerEndsAccept) {
  Listener listener(loop_);
  ASSERT_TRUE(listener.Listen({"127.0.0.1", 0}));
  Started<Result<Socket>> accepting(loop_, listener.Accept(loop_));
  RunReady(loop_);
  ASSERT_FALSE(accepting.done());
  listener.Close();
  const auto socket = accepting.Get();
  ASSERT_FALSE(socket);
  EXPECT_EQ(socket.error().code, ErrorCode::kCancelled);
}

// --- Addresses ----------------------------------------------------------------------------------

TEST(HostPort, ReadsAddressesAndWritesThemBack) {
  struct Case {
    std::string_view text;
    HostPort expected;
  };
  const Case cases[] = {
      {"127.0.0.1:6378", {"127.0.0.1", 6378}},
      {"[::1]:6378", {"::1", 6378}},
      {"[fe80::1%lo]:1", {"fe80::1%lo", 1}},
      {"cache.example.org:65535", {"cache.example.org", 65535}},
      {"localhost:0", {"localhost", 0}},
  };
  for (const Case& c : cases) {
    const auto parsed = ParseHostPort(c.text);
    ASSERT_TRUE(parsed) << c.text;
    EXPECT_EQ(*parsed, c.expected) << c.text;
    EXPECT_EQ(parsed->ToString(), c.text);
  }
}

TEST(HostPort, RefusesEverythingElseWithAnExample) {
  for (const std::string_view text :
       {"", ":", "127.0.0.1", "127.0.0.1:", ":6378", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:+1", "127.0.0.1: 1", "127.0.0.1:1 ", "127.0.0.1:0x10", "::1:6378", "[::1]",
        "[::1]6378", "[::1]:", "[]:6378", "[::1:6378", "a:b:1", "99999999999999999999:1:1"}) {
    const auto parsed = ParseHostPort(text);
    ASSERT_FALSE(parsed) << "'" << text << "'";
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(parsed.error().message,
              "'" + std::string(text) + "' is not an address; write for example 127.0.0.1:6378");
  }
}

// --- Advance ------------------------------------------------------------------------------------

RC_GTEST_PROP(AdvanceProperty, LeavesWhatTheBytesBehindWouldBe, ()) {
  const auto lengths =
      *rc::gen::container<std::vector<std::size_t>>(rc::gen::inRange<std::size_t>(0, 10));
  std::string content;
  for (const std::size_t length : lengths)
    content.append(length, static_cast<char>('a' + content.size() % 26));
  std::vector<iovec> pieces;
  std::size_t at = 0;
  for (const std::size_t length : lengths) {
    pieces.push_back(ToIovec(std::string_view(content).substr(at, length)));
    at += length;
  }
  const auto bytes = *rc::gen::inRange<std::size_t>(0, content.size() + 1);

  const std::span<iovec> left = Advance(pieces, bytes);

  std::string rest;
  for (const iovec& piece : left)
    rest.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  RC_ASSERT(rest == content.substr(bytes));
  // (RC_ASSERT evaluates both sides of an "or".)
  const bool nothing_empty_in_front = left.empty() || left.front().iov_len > 0;
  RC_ASSERT(nothing_empty_in_front);
}

}  // namespace
}  // namespace infinicache::net
