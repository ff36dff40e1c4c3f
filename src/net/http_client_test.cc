#include "net/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <string>
#include <utility>

namespace infinicache::net {
namespace {

using testing::HasSubstr;

constexpr Duration kLong = std::chrono::seconds(60);

Task<> Keep(Task<Result<HttpResponse>> task, std::optional<Result<HttpResponse>>& result,
            EventLoop& loop) {
  result.emplace(co_await std::move(task));
  loop.Stop();
}

// Reads the head of one request, answers `reply` to it and closes.
Task<> Serve(EventLoop& loop, Listener& listener, std::string reply) {
  auto socket = co_await listener.Accept(loop);
  if (!socket) co_return;
  std::string request;
  std::array<std::byte, 4096> buffer;
  while (request.find("\r\n\r\n") == std::string::npos) {
    const auto bytes = co_await socket->ReadSome(buffer);
    if (!bytes) co_return;
    request.append(reinterpret_cast<const char*>(buffer.data()), *bytes);
  }
  std::array<iovec, 1> pieces{ToIovec(reply)};
  (void)co_await socket->WriteAll(pieces);
}

class HttpClientTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(listener_.Listen({"127.0.0.1", 0})); }

  Result<HttpResponse> Await(Task<Result<HttpResponse>> call) {
    std::optional<Result<HttpResponse>> result;
    loop_.Spawn(Keep(std::move(call), result, loop_));
    loop_.Run();
    loop_.context().restart();
    return std::move(*result);
  }

  // What the client makes of `reply`.
  Result<HttpResponse> Get(std::string reply) {
    loop_.Spawn(Serve(loop_, listener_, std::move(reply)));
    return Await(HttpGet(loop_, listener_.address(), "/x?y=1", EventLoop::Now() + kLong));
  }

  void ExpectError(std::string reply, ErrorCode code) {
    const auto response = Get(reply);
    ASSERT_FALSE(response) << reply;
    EXPECT_EQ(response.error().code, code) << reply << response.error().message;
    EXPECT_THAT(response.error().message,
                HasSubstr("http://" + listener_.address().ToString() + "/x?y=1: "));
  }

  EventLoop loop_{"test"};
  Listener listener_{loop_};
};

TEST_F(HttpClientTest, ReadsAnswersInEveryForm) {
  const auto plain = Get("HTTP/1.1 404 No\r\ncontent-type: a/b\r\nContent-Length: 2\r\n\r\nhi");
  ASSERT_TRUE(plain) << plain.error().ToString();
  EXPECT_EQ(plain->status, 404);
  EXPECT_EQ(plain->content_type, "a/b");
  EXPECT_EQ(plain->body, "hi");
  const auto chunked = Get(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n");
  ASSERT_TRUE(chunked) << chunked.error().ToString();
  EXPECT_EQ(chunked->body, "abcde");
  const auto empty = Get("HTTP/1.1 204 No Content\r\n\r\n");
  ASSERT_TRUE(empty) << empty.error().ToString();
  EXPECT_EQ(empty->status, 204);
  const auto later =
      Get("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!");
  ASSERT_TRUE(later) << later.error().ToString();
  EXPECT_EQ(later->body, "!");
}

TEST_F(HttpClientTest, NeverTakesPartOfAnAnswerForAllOfIt) {
  ExpectError("", ErrorCode::kUnavailable);
  ExpectError("HTTP/1.1 200 OK\r\nContent-Le", ErrorCode::kUnavailable);
  ExpectError("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", ErrorCode::kUnavailable);
  ExpectError("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
              ErrorCode::kUnavailable);
  ExpectError("HTTP/1.1 200 OK\r\n\r\nto the end", ErrorCode::kProtocol);
}

TEST_F(HttpClientTest, RefusesWhatIsNoAnswerOrTooLarge) {
  ExpectError("-ERR unknown command\r\n", ErrorCode::kProtocol);
  ExpectError("HTTP/1.1 200 OK\r\nContent-Length: 67108865\r\n\r\n", ErrorCode::kTooLarge);
  ExpectError("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4000001\r\n",
              ErrorCode::kTooLarge);
}

TEST_F(HttpClientTest, GivesUpAtTheDeadline) {
  // The kernel accepts the connection; nobody answers.
  const auto response = Await(
      HttpGet(loop_, listener_.address(), "/", EventLoop::Now() + std::chrono::milliseconds(20)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::kDeadlineExceeded);
}

TEST_F(HttpClientTest, SaysWhereNobodyListens) {
  const HostPort address = listener_.address();
  listener_.Close();
  const auto response = Await(HttpGet(loop_, address, "/", EventLoop::Now() + kLong));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(response.error().message, HasSubstr(address.ToString()));
}

TEST_F(HttpClientTest, SendsNothingThatWouldBeAnotherRequest) {
  for (const char* target : {"", "x", "/a b", "/a\r\nX: y", "/\x7f"}) {
    const auto response =
        Await(HttpGet(loop_, listener_.address(), target, EventLoop::Now() + kLong));
    ASSERT_FALSE(response) << target;
    EXPECT_EQ(response.error().code, ErrorCode::kInvalidArgument);
  }
  const auto response =
      Await(HttpCall(loop_, listener_.address(), "GET /\r\n", "/", "", EventLoop::Now() + kLong));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace infinicache::net
