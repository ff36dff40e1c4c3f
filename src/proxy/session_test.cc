// Sessions over real connections, on a small cache of real nodes.
#include "proxy/session.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cache/cluster_for_test.h"
#include "net/testing.h"
#include "proxy/server.h"

namespace infinicache::proxy {
namespace {

using cache::ClusterForTest;
using cache::ContentForTest;

std::string Bulk(std::string_view text) {
  return fmt::format("${}\r\n{}\r\n", text.size(), text);
}
std::string Command(std::initializer_list<std::string_view> words) {
  std::string command = fmt::format("*{}\r\n", words.size());
  for (const std::string_view word : words) command += Bulk(word);
  return command;
}

class SessionTest : public testing::Test {
 protected:
  explicit SessionTest(std::string password = "", Duration node_timeout = std::chrono::seconds(30))
      : cluster_(SmallCluster(node_timeout)) {
    ServerOptions options;
    options.listen = {"127.0.0.1", 0};
    options.password = std::move(password);
    server_.emplace(cluster_.loop(), cluster_.cache(), cluster_.pool(), options);
    EXPECT_TRUE(server_->Listen());
    server_->Start();
    client_.emplace(Connect());
  }
  ~SessionTest() override {
    client_.reset();
    server_->Stop();
    cluster_.RunUntil([this] { return server_->clients() == 0; });
    net::RunReady(cluster_.loop());  // what Stop posted
  }

  static ClusterForTest::Options SmallCluster(Duration node_timeout) {
    ClusterForTest::Options options;
    options.cache.node_timeout = node_timeout;
    options.nodes = 8;
    options.cache.code = {4, 2};
    options.cache.object_bytes_max = 20 * kMiB;
    options.cache.eviction = policy::EvictionPolicy::kNone;
    return options;
  }
  net::Socket Connect() {
    auto socket = cluster_.Run(
        net::Socket::Connect(cluster_.loop(), server_->address(), {}, net::TestDeadline()));
    CHECK(socket, "{}", socket.error().message);
    return std::move(*socket);
  }
  static net::Task<Status> Write(net::Socket& socket, std::string bytes) {
    iovec piece = net::ToIovec(bytes);
    co_return co_await socket.WriteAll(std::span(&piece, 1));
  }
  void Send(std::string bytes) { EXPECT_TRUE(cluster_.Run(Write(*client_, std::move(bytes)))); }
  std::string Receive(std::size_t bytes) {
    std::string reply(bytes, '\0');
    const auto status = cluster_.Run(client_->ReadAll(std::as_writable_bytes(std::span(reply))));
    return status ? reply : "closed: " + status.error().message;
  }
  // Sends all of `request` while it expects `reply`, and nothing behind it.
  void Exchange(const std::string& request, const std::string& reply) {
    net::Started<Status> sending(cluster_.loop(),
                                 Write(*client_, request + Command({"echo", "@"})));
    const std::string expected = reply + Bulk("@");
    const std::string got = Receive(expected.size());
    EXPECT_TRUE(got == expected) << got.substr(0, 300);
    cluster_.RunUntil([&] { return sending.done(); });
  }
  void ExpectClosed() {
    std::byte rest[1];
    const auto count = cluster_.Run(client_->ReadSome(std::span(rest)));
    EXPECT_TRUE(!count || *count == 0);
  }

  ClusterForTest cluster_;
  std::optional<Server> server_;
  std::optional<net::Socket> client_;
};

TEST_F(SessionTest, RepliesOfAPipelineComeInOrder) {
  std::string request;
  std::string reply;
  for (int i = 0; i < 200; ++i) {
    const std::string key = fmt::format("key{}", i % 7);
    const std::string value = fmt::format("value{}", i);
    request += Command({"SET", key, value}) + Command({"get", key}) + "PING\r\n" +
               Command({"strlen", key}) + Command({"nosuch"});
    reply += "+OK\r\n" + Bulk(value) + "+PONG\r\n" + fmt::format(":{}\r\n", value.size()) +
             "-ERR unknown command 'nosuch', with args beginning with: \r\n";
  }
  Exchange(request, reply);
}

TEST_F(SessionTest, LargeValuesAreStreamedBetweenSmallCommands) {
  std::string request;
  std::string reply;
  // Around the limit of buffering, of the coalesced reply and of the codes.
  for (const std::size_t size : {32 * kKiB - 1, 32 * kKiB, 32 * kKiB + 1, 200 * kKiB, 600 * kKiB,
                                 3 * kMiB + 17, 12 * kMiB}) {
    const std::string value = ContentForTest(size, size);
    request += Command({"ping"}) + Command({"set", "big", value}) + Command({"set", "small", "s"}) +
               Command({"get", "big"}) + Command({"get", "small"}) + Command({"strlen", "big"}) +
               Command({"getrange", "big", "-7", "-2"}) + Command({"mget", "small", "none", "big"});
    reply += "+PONG\r\n+OK\r\n+OK\r\n" + Bulk(value) + Bulk("s") + fmt::format(":{}\r\n", size) +
             Bulk(value.substr(size - 7, 6)) + "*3\r\n" + Bulk("s") + "$-1\r\n" + Bulk(value);
  }
  Exchange(request, reply);
}

TEST_F(SessionTest, AValueThatArrivesByteByByteAroundItsEndKeepsTheStreamInSync) {
  const std::string value = ContentForTest(1, 100'000);
  const std::string request = Command({"set", "k", value}) + Command({"get", "k"});
  const std::size_t careful = Command({"set", "k", value}).size() - 6;
  Send(request.substr(0, careful));
  for (std::size_t i = careful; i < careful + 12; ++i) {
    Send(request.substr(i, 1));
    net::RunReady(cluster_.loop());
  }
  Exchange(request.substr(careful + 12), "+OK\r\n" + Bulk(value));
}

TEST_F(SessionTest, AWrongOptionOfSetDropsTheUploadedValueAndStaysInSync) {
  const std::string value = ContentForTest(1, 2 * kMiB);
  Exchange(Command({"set", "k", value, "bogus"}), "-ERR syntax error\r\n");
  Exchange(Command({"set", "k", value, "ex", "0"}),
           "-ERR invalid expire time in 'set' command\r\n");
  Exchange(Command({"set", "k", value, "ex", "x"}),
           "-ERR value is not an integer or out of range\r\n");
  Exchange(Command({"set", "k", value, "nx", "xx"}), "-ERR syntax error\r\n");
  Exchange(Command({"set", "k", value, "xx"}), "$-1\r\n");
  Exchange(Command({"setex", "k", "-1", value}), "-ERR invalid expire time in 'setex' command\r\n");
  Exchange(Command({"getset", "k", value, "more"}),
           "-ERR wrong number of arguments for 'getset' command\r\n");
  Exchange(Command({"mset", "k", value, "odd"}),
           "-ERR wrong number of arguments for 'mset' command\r\n");
  Exchange(Command({"exists", "k"}), ":0\r\n");
  cluster_.AwaitNothingLeft();
}

TEST_F(SessionTest, SetWithConditionsAndGetRepliesWhatWasThere) {
  const std::string first = ContentForTest(1, 700'000);
  const std::string second = ContentForTest(2, 800'000);
  Exchange(Command({"set", "k", first, "nx", "get"}), "$-1\r\n");
  Exchange(Command({"set", "k", second, "NX", "GET"}), Bulk(first));
  Exchange(Command({"get", "k"}), Bulk(first));
  Exchange(Command({"set", "k", second, "XX", "GET", "PX", "100000"}), Bulk(first));
  Exchange(Command({"set", "k", first, "keepttl"}), "+OK\r\n");
  Exchange(Command({"pttl", "k"}), ":100000\r\n");
  Exchange(Command({"getdel", "k"}), Bulk(first));
  Exchange(Command({"get", "k"}), "$-1\r\n");
  cluster_.AwaitNothingLeft();
}

TEST_F(SessionTest, OfAKeyThatMSetNamesTwiceTheLastValueCounts) {
  const std::string large = ContentForTest(1, 300'000);
  const std::string other = ContentForTest(2, 400'000);
  Exchange(Command({"mset", "a", large, "b", "small", "a", other}), "+OK\r\n");
  Exchange(Command({"mget", "a", "b"}), "*2\r\n" + Bulk(other) + Bulk("small"));
  Exchange(Command({"mset", "a", other, "a", "last"}), "+OK\r\n");
  Exchange(Command({"get", "a"}), Bulk("last"));
  Exchange(Command({"del", "a", "b"}), ":2\r\n");
  cluster_.AwaitNothingLeft();
}

TEST_F(SessionTest, AnArgumentThatIsTooLongWhereNoValueMayBeIsAnErrorOfItsCommandOnly) {
  const std::string large = ContentForTest(1, 100'000);
  const auto too_long = [](int index, std::string_view command) {
    return fmt::format("-ERR argument {} of '{}' is too long (100000 bytes)\r\n", index, command);
  };
  Exchange(Command({"get", large}), too_long(1, "get"));
  Exchange(Command({"set", large, "v"}), too_long(1, "set"));
  Exchange(Command({"set", large, large}), too_long(1, "set"));
  Exchange(Command({"set", "k", "v", large}), too_long(3, "set"));
  Exchange(Command({"set", "k", large, large}), too_long(3, "set"));
  Exchange(Command({"mset", "k", large, large, "v"}), too_long(3, "mset"));
  Exchange(Command({large, "x"}), "-ERR unknown command '', with args beginning with: 'x' \r\n");
  Exchange(Command({"exists", "k"}), ":0\r\n");
  cluster_.AwaitNothingLeft();
}

TEST_F(SessionTest, AValueAboveTheObjectLimitIsRefused) {
  Send(fmt::format("*3\r\n$3\r\nset\r\n$1\r\nk\r\n${}\r\n", 20 * kMiB + 1));
  EXPECT_EQ(Receive(5), "-ERR ");
}

TEST_F(SessionTest, AConnectionThatIsCutMidValueLeavesNothing) {
  const std::string request = Command({"set", "k", ContentForTest(1, 4 * kMiB)});
  for (const std::size_t sent : {std::size_t{40}, request.size() / 2, request.size() - 1}) {
    Send(request.substr(0, sent));
    client_.reset();
    cluster_.RunUntil([this] { return server_->clients() == 0; });
    EXPECT_EQ(cluster_.directory().size(), 0U);
    cluster_.AwaitNothingLeft();
    client_.emplace(Connect());
  }
}

TEST_F(SessionTest, AClientThatGoesAwayWhileItIsSentAValueLeavesNoRequest) {
  const std::string value = ContentForTest(1, 12 * kMiB);
  Exchange(Command({"set", "k", value}), "+OK\r\n");
  Send(Command({"get", "k"}));
  Receive(1000);
  client_.reset();
  cluster_.RunUntil([this] { return server_->clients() == 0; });
  client_.emplace(Connect());
  Exchange(Command({"getdel", "k"}), Bulk(value));
  cluster_.AwaitNothingLeft();
}

TEST_F(SessionTest, AValueThatFindsNoRoomIsSkippedAndAnsweredWithOom) {
  const std::string value = ContentForTest(1, 19 * kMiB);
  std::size_t stored = 0;
  for (bool full = false; !full; ++stored) {
    ASSERT_LT(stored, 20U);
    Send(Command({"set", fmt::format("k{}", stored), value}));
    full = Receive(5) != "+OK\r\n";
    if (full) {
      EXPECT_EQ(
          Receive(
              std::string("-OOM command not allowed when used memory > 'maxmemory'.\r\n").size() -
              5),
          std::string("-OOM command not allowed when used memory > 'maxmemory'.\r\n").substr(5));
    }
  }
  Exchange(Command({"dbsize"}), fmt::format(":{}\r\n", stored - 1));
  Exchange(Command({"flushall"}), "+OK\r\n");
  cluster_.AwaitNothingLeft();
}

TEST_F(SessionTest, ALostObjectIsAMissAndTheStreamGoesOn) {
  const std::string value = ContentForTest(1, 2 * kMiB);
  Exchange(Command({"set", "k", value}), "+OK\r\n");
  const cache::ObjectRef object = cluster_.directory().Find("k");
  for (std::size_t i = 0; i < 3; ++i) cluster_.RemoveChunk(object, i);
  Exchange(Command({"get", "k"}) + Command({"ping"}), "$-1\r\n+PONG\r\n");
  Exchange(Command({"exists", "k"}), ":0\r\n");
}

class PasswordTest : public SessionTest {
 protected:
  PasswordTest() : SessionTest("secret") {}
};

TEST_F(PasswordTest, NothingIsDoneBeforeAuthentication) {
  Send(Command({"set", "k", "v"}));
  const std::string refusal = "-NOAUTH Authentication required.\r\n";
  EXPECT_EQ(Receive(refusal.size()), refusal);
  Send(Command({"auth", "wrong"}));
  EXPECT_EQ(Receive(10), "-WRONGPASS");
  EXPECT_EQ(cluster_.directory().size(), 0U);
}

TEST_F(PasswordTest, ALargeValueBeforeAuthenticationEndsTheConnectionAndStoresNothing) {
  Send("*3\r\n$3\r\nset\r\n$1\r\nk\r\n$1000000\r\n");
  const std::string refusal = "-ERR Protocol error: unauthenticated bulk length\r\n";
  EXPECT_EQ(Receive(refusal.size()), refusal);
  ExpectClosed();
  EXPECT_EQ(cluster_.ChunksOnNodes(), 0U);
}

TEST_F(PasswordTest, LargeValuesAreTakenAfterAuthentication) {
  const std::string value = ContentForTest(1, 1'000'000);
  Exchange(Command({"auth", "secret"}) + Command({"set", "k", value}) + Command({"get", "k"}),
           "+OK\r\n+OK\r\n" + Bulk(value));
}

// --- Restarts -----------------------------------------------------------------------------------

TEST_F(SessionTest, CommandsOnKeysThatAreNotRebuiltYetWaitAndOthersGoOn) {
  const bool a_first = cache::HashKey("a") < cache::HashKey("b");
  const std::string early = a_first ? "a" : "b";
  const std::string late = a_first ? "b" : "a";
  Exchange(Command({"SET", early, "1"}) + Command({"SET", late, "2"}), "+OK\r\n+OK\r\n");
  cache::RebuildProgress& rebuild = cluster_.cache().shared().rebuild;
  rebuild.Start();
  rebuild.SetSettledBelow(cache::HashKey(late));
  Exchange(Command({"GET", early}) + "PING\r\n", Bulk("1") + "+PONG\r\n");
  for (const auto& command : {Command({"GET", late}), Command({"DEL", early, late}),
                              Command({"DBSIZE"}), Command({"SET", late, "3"})}) {
    net::Socket other = Connect();
    EXPECT_TRUE(cluster_.Run(Write(other, command)));
    std::byte first[1];
    net::Started<Result<std::size_t>> reply(cluster_.loop(), other.ReadSome(std::span(first)));
    Exchange(Command({"GET", early}), Bulk("1"));
    EXPECT_FALSE(reply.done()) << command;
    other.Shutdown();
    cluster_.RunUntil([&] { return reply.done(); });
  }
  rebuild.Finish();
  cluster_.RunUntil([&] { return server_->clients() == 1; });
}

class ImpatientSessionTest : public SessionTest {
 protected:
  ImpatientSessionTest() : SessionTest("", std::chrono::milliseconds(50)) {}
};

TEST_F(ImpatientSessionTest, AKeyThatIsNotRebuiltInTimeIsAnsweredLoading) {
  cluster_.cache().shared().rebuild.Start();
  Exchange(Command({"GET", "key"}), "-LOADING InfiniCache is rebuilding its directory\r\n");
  cluster_.cache().shared().rebuild.Finish();
  Exchange(Command({"GET", "key"}), "$-1\r\n");
}

// What a client was told is gone stays gone, though the proxy ends before any chunk is freed.
class DeleteTest : public SessionTest, public testing::WithParamInterface<const char*> {};

TEST_P(DeleteTest, WhatWasDeletedIsAbsentAfterACrash) {
  Exchange(Command({"SET", "key", "value"}), "+OK\r\n");
  Exchange(Command({"SET", "large", ContentForTest(1, 2'000'000)}), "+OK\r\n");
  const std::string name = GetParam();
  if (name == "flushall") {
    Exchange(Command({"FLUSHALL"}), "+OK\r\n");
  } else if (name == "getdel") {
    Exchange(Command({"GETDEL", "key"}), Bulk("value"));
    Exchange(Command({"DEL", "large"}), ":1\r\n");
  } else if (name == "expire") {
    Exchange(Command({"EXPIRE", "key", "-1"}) + Command({"PEXPIREAT", "large", "5"}),
             ":1\r\n:1\r\n");
  } else if (name == "expire and del") {
    Exchange(Command({"EXPIRE", "key", "100"}) + Command({"DEL", "key", "large", "none"}),
             ":1\r\n:2\r\n");
  } else {
    Exchange(Command({name, "key", "large", "none"}), ":2\r\n");
  }
  cluster_.Crash();
  cluster_.Restart();
  EXPECT_EQ(cluster_.directory().size(), 0U);
  EXPECT_EQ(cluster_.stats().gone.Objects(cache::GoneCause::kTorn), 0U);
}

INSTANTIATE_TEST_SUITE_P(Commands, DeleteTest,
                         testing::Values("del", "unlink", "getdel", "flushall", "expire",
                                         "expire and del"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           std::erase(name, ' ');
                           return name;
                         });

TEST_F(SessionTest, WhatAConditionDroppedIsNotThereAfterACrash) {
  Exchange(Command({"SET", "key", "first"}), "+OK\r\n");
  // So large that it is stored before its options are known.
  Exchange(Command({"SET", "key", ContentForTest(1, 2'000'000), "NX"}), "$-1\r\n");
  Exchange(Command({"SET", "none", ContentForTest(2, 2'000'000), "XX"}), "$-1\r\n");
  cluster_.Crash();
  cluster_.Restart();
  EXPECT_EQ(cluster_.directory().size(), 1U);
  EXPECT_EQ(cluster_.directory().Find("key")->bytes(), 5U);
}

TEST_F(SessionTest, ExpiriesAreThereAgainAfterACrash) {
  Exchange(Command({"SETEX", "setex", "100", "v"}) + Command({"SET", "set", "v", "PX", "7000"}) +
               Command({"SET", "large", ContentForTest(1, 2'000'000), "EX", "50"}) +
               Command({"SET", "kept", "v"}) + Command({"EXPIRE", "kept", "10"}) +
               Command({"SET", "never", "v", "EX", "9"}) + Command({"PERSIST", "never"}),
           "+OK\r\n+OK\r\n+OK\r\n+OK\r\n:1\r\n+OK\r\n:1\r\n");
  const auto told = [&](std::string_view key, std::size_t chunks, WallMillis at) {
    return cluster_.ExpiriesOnNodes(key) == std::vector<WallMillis>(chunks, at);
  };
  const WallMillis now = cluster_.clock().WallNow();
  EXPECT_TRUE(told("setex", 3, now + 100'000)) << "at once";
  EXPECT_TRUE(told("set", 3, now + 7000)) << "at once";
  cluster_.RunUntil([&] {
    return told("large", 6, now + 50'000) && told("kept", 3, now + 10'000) && told("never", 3, 0);
  });
  cluster_.Crash();
  cluster_.Restart();
  for (const auto& [key, left] :
       {std::pair("setex", 100'000), {"set", 7000}, {"large", 50'000}, {"kept", 10'000}}) {
    const cache::ObjectRef object = cluster_.directory().Find(key);
    ASSERT_NE(object, nullptr) << key;
    EXPECT_EQ(object->expires_at(), now + left) << key;
  }
  EXPECT_EQ(cluster_.directory().Find("never")->expires_at(), cache::ObjectRecord::kNever);
}

}  // namespace
}  // namespace infinicache::proxy
