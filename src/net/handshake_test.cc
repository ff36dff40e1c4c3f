#include "net/handshake.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "net/crypto.h"
#include "net/testing.h"

namespace infinicache::net {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using wire::FrameHeader;
using wire::FrameType;

constexpr std::string_view kSecret = "the pool's secret";
constexpr std::size_t kReadAhead = 4096;

wire::NodeStatus SampleStatus() {
  return {.node = NodeId(3),
          .instance = InstanceId(0x1122334455667788),
          .bytes_limit = 512 * kMiB,
          .bytes_used = 17,
          .chunks = 2};
}

// As the header says, written apart from the code under test.
std::string Proof(std::string_view secret, char role, std::string_view nonce_d,
                  std::string_view nonce_a) {
  std::string message = "infinicache link 1";
  message += role;
  message += nonce_d;
  message += nonce_a;
  const Digest digest = HmacSha256(secret, message);
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

// One end of the connection: a socket and its reader.
struct End {
  explicit End(Socket s) : socket(std::move(s)), reader(socket, kReadAhead) {}
  Socket socket;
  FrameReader reader;
};

class HandshakeTest : public testing::Test {
 protected:
  struct Ends {
    explicit Ends(SocketPair pair)
        : dialer(std::move(pair.dialer)), acceptor(std::move(pair.acceptor)) {}
    End dialer;
    End acceptor;
  };

  Started<Result<wire::NodeStatus>> Dial(End& end, std::string_view secret,
                                         TimePoint deadline = TestDeadline()) {
    return {loop_, HandshakeAsDialer(end.socket, end.reader, secret, deadline)};
  }
  Started<Result<std::uint16_t>> Accept(End& end, std::string_view secret,
                                        TimePoint deadline = TestDeadline()) {
    return {loop_, HandshakeAsAcceptor(end.socket, end.reader, secret, status_, deadline)};
  }

  void Send(End& end, FrameType type, std::string_view meta) {
    FrameHeader header;
    header.type = type;
    ASSERT_TRUE(RunTask(loop_, SendMetaFrame(end.socket, header, meta)));
  }
  void SendRefusal(End& end) {
    FrameHeader header;
    header.type = FrameType::kError;
    header.status = ErrorCode::kUnauthenticated;
    ASSERT_TRUE(RunTask(loop_, SendMetaFrame(end.socket, header, "")));
  }
  void SendBytes(End& end, std::string_view bytes) {
    iovec piece = ToIovec(bytes);
    ASSERT_TRUE(RunTask(loop_, end.socket.WriteAll(std::span(&piece, 1))));
  }

  FrameHeader ReadHeader(End& end) {
    const auto header = RunTask(loop_, end.reader.ReadHeader());
    EXPECT_TRUE(header) << header.error().message;
    return header.value_or(FrameHeader{});
  }
  // The payload of the next frame, which must be of `type`.
  std::string Expect(End& end, FrameType type) {
    const FrameHeader header = ReadHeader(end);
    EXPECT_EQ(header.type, type);
    EXPECT_EQ(header.meta_bytes, header.payload_bytes);
    std::string meta(header.payload_bytes, '\0');
    EXPECT_TRUE(RunTask(loop_, end.reader.ReadPayload(std::as_writable_bytes(std::span(meta)))));
    return meta;
  }

  template <typename Outcome>
  void ExpectFailure(Outcome outcome, ErrorCode code, std::string_view message) {
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, code) << outcome.error().message;
    EXPECT_THAT(outcome.error().message, HasSubstr(std::string(message)));
  }

  EventLoop loop_{"test"};
  const wire::NodeStatus status_ = SampleStatus();
  Ends ends_{ConnectedPair(loop_)};
};

TEST_F(HandshakeTest, TwoThatKnowTheSecretMeetAndTheStatusTravels) {
  auto dialling = Dial(ends_.dialer, kSecret);
  auto accepting = Accept(ends_.acceptor, kSecret);
  const auto status = dialling.Get();
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(*status, status_);
  EXPECT_TRUE(accepting.Get());
  // The link is theirs: the next frame is read by the same readers.
  Send(ends_.dialer, FrameType::kPing, "");
  EXPECT_EQ(ReadHeader(ends_.acceptor).type, FrameType::kPing);
}

TEST_F(HandshakeTest, TheAcceptorLearnsWhichLinkItIs) {
  Started<Result<wire::NodeStatus>> dialling(
      loop_, HandshakeAsDialer(ends_.dialer.socket, ends_.dialer.reader, kSecret, TestDeadline(),
                               kControlLink));
  auto accepting = Accept(ends_.acceptor, kSecret);
  ASSERT_TRUE(dialling.Get());
  EXPECT_EQ(accepting.Get(), kControlLink);
}

TEST_F(HandshakeTest, ANodeThatDialsTellsWhoItIsAndWhichLinkItBrings) {
  Started<Status> dialling(loop_, HandshakeAsDialingNode(ends_.dialer.socket, ends_.dialer.reader,
                                                         kSecret, status_, 3, TestDeadline()));
  Started<Result<ArrivedNode>> accepting(
      loop_, HandshakeAsAcceptingProxy(ends_.acceptor.socket, ends_.acceptor.reader, kSecret,
                                       TestDeadline()));
  ASSERT_TRUE(dialling.Get());
  const auto arrived = accepting.Get();
  ASSERT_TRUE(arrived) << arrived.error().message;
  EXPECT_EQ(arrived->status, status_);
  EXPECT_EQ(arrived->link_number, 3);
}

TEST_F(HandshakeTest, AProxyTurnsANodeWithAnotherSecretAway) {
  Started<Status> dialling(loop_, HandshakeAsDialingNode(ends_.dialer.socket, ends_.dialer.reader,
                                                         "another", status_, 1, TestDeadline()));
  Started<Result<ArrivedNode>> accepting(
      loop_, HandshakeAsAcceptingProxy(ends_.acceptor.socket, ends_.acceptor.reader, kSecret,
                                       TestDeadline()));
  // Each side would notice; the node does so first, by the proxy's proof.
  ExpectFailure(dialling.Get(), ErrorCode::kUnauthenticated, "does not prove the pool's secret");
  ends_.dialer.socket.Shutdown();
  EXPECT_FALSE(accepting.Get());
}

TEST_F(HandshakeTest, TheFramesAreAsDocumented) {
  const std::string nonce_d = "0123456789abcdef";
  auto accepting = Accept(ends_.acceptor, kSecret);
  Send(ends_.dialer, FrameType::kHello, nonce_d);
  const std::string challenge = Expect(ends_.dialer, FrameType::kChallenge);
  ASSERT_EQ(challenge.size(), 48U);
  const std::string nonce_a = challenge.substr(0, 16);
  EXPECT_TRUE(challenge.substr(16) == Proof(kSecret, 'a', nonce_d, nonce_a));
  Send(ends_.dialer, FrameType::kAuth, Proof(kSecret, 'd', nonce_d, nonce_a));
  EXPECT_EQ(Expect(ends_.dialer, FrameType::kWelcome), wire::EncodeNodeStatus(status_));
  EXPECT_TRUE(accepting.Get());

  auto dialling = Dial(ends_.dialer, kSecret);
  const std::string hello = Expect(ends_.acceptor, FrameType::kHello);
  ASSERT_EQ(hello.size(), 16U);
  EXPECT_NE(hello, nonce_d);
  Send(ends_.acceptor, FrameType::kChallenge, nonce_a + Proof(kSecret, 'a', hello, nonce_a));
  EXPECT_TRUE(Expect(ends_.acceptor, FrameType::kAuth) == Proof(kSecret, 'd', hello, nonce_a));
  Send(ends_.acceptor, FrameType::kWelcome, wire::EncodeNodeStatus(status_));
  EXPECT_EQ(dialling.Get(), status_);
}

TEST_F(HandshakeTest, ADialerLeavesAnAcceptorWithAnotherSecret) {
  auto dialling = Dial(ends_.dialer, "another secret");
  auto accepting = Accept(ends_.acceptor, kSecret);
  ExpectFailure(dialling.Get(), ErrorCode::kUnauthenticated, "secret");
  ends_.dialer.socket.Close();
  ExpectFailure(accepting.Get(), ErrorCode::kUnavailable, "closed");
}

TEST_F(HandshakeTest, AnAcceptorRefusesADialerWithAnotherSecretAndSaysSo) {
  auto accepting = Accept(ends_.acceptor, kSecret);
  const std::string nonce_d(16, 'd');
  Send(ends_.dialer, FrameType::kHello, nonce_d);
  const std::string nonce_a = Expect(ends_.dialer, FrameType::kChallenge).substr(0, 16);
  Send(ends_.dialer, FrameType::kAuth, Proof("another secret", 'd', nonce_d, nonce_a));
  ExpectFailure(accepting.Get(), ErrorCode::kUnauthenticated, "secret");
  const FrameHeader answer = ReadHeader(ends_.dialer);
  EXPECT_EQ(answer.type, FrameType::kError);
  EXPECT_EQ(answer.status, ErrorCode::kUnauthenticated);
}

TEST_F(HandshakeTest, ADialerThatIsRefusedSaysSo) {
  auto dialling = Dial(ends_.dialer, kSecret);
  const std::string nonce_d = Expect(ends_.acceptor, FrameType::kHello);
  const std::string nonce_a(16, 'a');
  Send(ends_.acceptor, FrameType::kChallenge, nonce_a + Proof(kSecret, 'a', nonce_d, nonce_a));
  Expect(ends_.acceptor, FrameType::kAuth);
  SendRefusal(ends_.acceptor);
  ExpectFailure(dialling.Get(), ErrorCode::kUnauthenticated, "refused our proof");
}

TEST_F(HandshakeTest, AReplayedProofIsRefused) {
  const std::string nonce_d(16, 'd');
  std::string proof;
  for (const bool replay : {false, true}) {
    Ends ends(ConnectedPair(loop_));
    auto accepting = Accept(ends.acceptor, kSecret);
    Send(ends.dialer, FrameType::kHello, nonce_d);
    const std::string nonce_a = Expect(ends.dialer, FrameType::kChallenge).substr(0, 16);
    if (!replay) proof = Proof(kSecret, 'd', nonce_d, nonce_a);
    Send(ends.dialer, FrameType::kAuth, proof);
    if (replay) {
      ExpectFailure(accepting.Get(), ErrorCode::kUnauthenticated, "secret");
    } else {
      EXPECT_TRUE(accepting.Get());
    }
  }
}

TEST_F(HandshakeTest, TheOtherSidesProofSentBackIsRefused) {
  auto accepting = Accept(ends_.acceptor, kSecret);
  Send(ends_.dialer, FrameType::kHello, std::string(16, 'd'));
  Send(ends_.dialer, FrameType::kAuth, Expect(ends_.dialer, FrameType::kChallenge).substr(16));
  ExpectFailure(accepting.Get(), ErrorCode::kUnauthenticated, "secret");
}

TEST_F(HandshakeTest, APeerThatSpeaksSomethingElseIsAProtocolError) {
  const std::string request(200, 'G');
  auto accepting = Accept(ends_.acceptor, kSecret);
  SendBytes(ends_.dialer, request);
  ExpectFailure(accepting.Get(), ErrorCode::kProtocol, "magic");
  auto dialling = Dial(ends_.dialer, kSecret);
  SendBytes(ends_.acceptor, request);
  ExpectFailure(dialling.Get(), ErrorCode::kProtocol, "magic");
}

TEST_F(HandshakeTest, FramesOutOfTurnOrOfAnotherLengthAreAProtocolError) {
  const std::pair<FrameType, std::size_t> hellos[] = {{FrameType::kPut, 16},
                                                      {FrameType::kAuth, 32},
                                                      {FrameType::kHello, 15},
                                                      {FrameType::kHello, 17},
                                                      {FrameType::kHello, 0}};
  for (const auto& [type, length] : hellos) {
    Ends ends(ConnectedPair(loop_));
    auto accepting = Accept(ends.acceptor, kSecret);
    Send(ends.dialer, type, std::string(length, 'x'));
    ExpectFailure(accepting.Get(), ErrorCode::kProtocol, "hello");
  }
  const std::pair<FrameType, std::size_t> challenges[] = {
      {FrameType::kWelcome, 48}, {FrameType::kChallenge, 47}, {FrameType::kChallenge, 49}};
  for (const auto& [type, length] : challenges) {
    Ends ends(ConnectedPair(loop_));
    auto dialling = Dial(ends.dialer, kSecret);
    Send(ends.acceptor, type, std::string(length, 'x'));
    ExpectFailure(dialling.Get(), ErrorCode::kProtocol, "challenge");
  }
}

TEST_F(HandshakeTest, AWelcomeThatCannotBeReadIsAProtocolError) {
  auto dialling = Dial(ends_.dialer, kSecret);
  const std::string nonce_d = Expect(ends_.acceptor, FrameType::kHello);
  const std::string nonce_a(16, 'a');
  Send(ends_.acceptor, FrameType::kChallenge, nonce_a + Proof(kSecret, 'a', nonce_d, nonce_a));
  Expect(ends_.acceptor, FrameType::kAuth);
  Send(ends_.acceptor, FrameType::kWelcome, "not a status");
  ExpectFailure(dialling.Get(), ErrorCode::kProtocol, "node status");
}

TEST_F(HandshakeTest, APeerThatFallsSilentEndsAtTheDeadline) {
  const auto soon = [] { return EventLoop::Now() + milliseconds(20); };
  ExpectFailure(Dial(ends_.dialer, kSecret, soon()).Get(), ErrorCode::kDeadlineExceeded,
                "handshake in time");
  Ends others(ConnectedPair(loop_));
  ExpectFailure(Accept(others.acceptor, kSecret, soon()).Get(), ErrorCode::kDeadlineExceeded,
                "handshake in time");
  Ends half(ConnectedPair(loop_));
  Send(half.dialer, FrameType::kHello, std::string(16, 'd'));
  ExpectFailure(Accept(half.acceptor, kSecret, soon()).Get(), ErrorCode::kDeadlineExceeded,
                "handshake in time");
}

TEST_F(HandshakeTest, TheDeadlineIsOfTheHandshakeAloneNotOfTheLink) {
  const TimePoint deadline = EventLoop::Now() + milliseconds(200);
  auto dialling = Dial(ends_.dialer, kSecret, deadline);
  auto accepting = Accept(ends_.acceptor, kSecret, deadline);
  if (!dialling.Get() || !accepting.Get()) GTEST_SKIP() << "this machine is too busy to tell";
  RunTask(loop_, loop_.Sleep(deadline - EventLoop::Now() + milliseconds(1)));
  Send(ends_.dialer, FrameType::kPing, "");
  EXPECT_EQ(ReadHeader(ends_.acceptor).type, FrameType::kPing);
}

TEST_F(HandshakeTest, APeerThatLeavesIsUnavailable) {
  auto accepting = Accept(ends_.acceptor, kSecret);
  ends_.dialer.socket.Close();
  ExpectFailure(accepting.Get(), ErrorCode::kUnavailable, "closed");
  Ends others(ConnectedPair(loop_));
  auto dialling = Dial(others.dialer, kSecret);
  others.acceptor.socket.Close();
  ASSERT_FALSE(dialling.Get());
}

}  // namespace
}  // namespace infinicache::net
