#include "pool/sync_relay.h"

#include <gtest/gtest.h>

#include <string>

#include "net/testing.h"

namespace infinicache::pool {
namespace {

constexpr wire::SyncToken kToken = {std::byte{1}, std::byte{2}};
constexpr wire::SyncToken kOtherToken = {std::byte{3}};

class SyncRelayTest : public testing::Test {
 protected:
  ~SyncRelayTest() override {
    relay_.CloseAll();
    net::RunToEnd(loop_);
  }

  // The instance's end of a connection that it has made with `token`.
  net::Socket Connect(const wire::SyncToken& token) {
    net::SocketPair pair = net::ConnectedPair(loop_);
    relay_.Take(token, std::move(pair.acceptor));
    return std::move(pair.dialer);
  }
  Status Send(net::Socket& socket, std::string_view text) {
    iovec piece = net::ToIovec(text);
    return net::RunTask(loop_, socket.WriteAll({&piece, 1}));
  }
  std::string Receive(net::Socket& socket, std::size_t bytes) {
    std::string text(bytes, '\0');
    const Status read =
        net::RunTask(loop_, socket.ReadAll(std::as_writable_bytes(std::span(text))));
    return read ? text : "closed";
  }

  net::EventLoop loop_{"test"};
  SyncRelay relay_{loop_};
};

TEST_F(SyncRelayTest, JoinsTwoThatKnowTheTokenBothWays) {
  relay_.Open(kToken);
  net::Socket first = Connect(kToken);
  ASSERT_TRUE(Send(first, "sent before the other came"));
  net::Socket second = Connect(kToken);
  EXPECT_EQ(Receive(second, 26), "sent before the other came");
  ASSERT_TRUE(Send(second, "answer"));
  EXPECT_EQ(Receive(first, 6), "answer");
}

TEST_F(SyncRelayTest, ClosesWhoIsNotExpected) {
  relay_.Open(kToken);
  net::Socket stranger = Connect(kOtherToken);
  EXPECT_EQ(Receive(stranger, 1), "closed");
  net::Socket first = Connect(kToken);
  net::Socket second = Connect(kToken);
  net::Socket third = Connect(kToken);
  EXPECT_EQ(Receive(third, 1), "closed");
}

TEST_F(SyncRelayTest, TheEndOfOneIsTheEndOfTheOtherAndLosesNothingSent) {
  relay_.Open(kToken);
  net::Socket first = Connect(kToken);
  net::Socket second = Connect(kToken);
  ASSERT_TRUE(Send(first, "last words"));
  first.Shutdown();
  EXPECT_EQ(Receive(second, 10), "last words");
  EXPECT_EQ(Receive(second, 1), "closed");
}

TEST_F(SyncRelayTest, CloseEndsARoundAndItsTokenIsOfNoUseAnyMore) {
  relay_.Open(kToken);
  net::Socket first = Connect(kToken);
  relay_.Close(kToken);
  EXPECT_EQ(Receive(first, 1), "closed");
  net::Socket late = Connect(kToken);
  EXPECT_EQ(Receive(late, 1), "closed");
}

}  // namespace
}  // namespace infinicache::pool
