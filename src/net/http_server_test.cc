#include "net/http_server.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "net/http_client.h"
#include "net/notification.h"

namespace infinicache::net {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr Duration kLong = std::chrono::seconds(60);
constexpr Duration kShort = std::chrono::milliseconds(20);

template <typename T>
Task<> Keep(Task<T> task, std::optional<T>& result, EventLoop& loop) {
  result.emplace(co_await std::move(task));
  loop.Stop();
}

// Runs the loop, and so server and client, until `task` is done.
template <typename T>
T Await(EventLoop& loop, Task<T> task) {
  std::optional<T> result;
  loop.Spawn(Keep(std::move(task), result, loop));
  loop.Run();
  loop.context().restart();
  return std::move(*result);
}

template <typename Condition>
void RunUntil(EventLoop& loop, const Condition& condition) {
  while (!condition()) loop.context().run_one();
}

// Answers with what it got; /wait only when it is released, /large with a body of that many bytes.
struct Echo {
  explicit Echo(EventLoop& loop) : released(loop) {}

  Task<HttpResponse> Answer(const HttpRequest& request) {
    ++requests;
    if (request.target.path == "/wait") co_await released.Wait(EventLoop::Now() + kLong);
    HttpResponse response;
    if (request.target.path == "/large") {
      response.body.assign(std::stoul(request.target.query.at("bytes")), 'x');
      co_return response;
    }
    if (request.target.path == "/stream") {
      response.stream = [this](HttpStream& stream) { return Stream(stream); };
      co_return response;
    }
    if (request.target.path == "/headers")
      for (const auto& [name, value] : request.headers) seen += fmt::format("{}={}|", name, value);
    response.status = request.method == "POST" ? 201 : 200;
    response.content_type = "text/echo";
    response.headers.emplace_back("X-Path", PercentEncode(request.target.path));
    response.body = request.method + " " + request.target.path;
    for (const auto& [name, value] : request.target.query) {
      response.body.append("|").append(name).append("=").append(value);
    }
    response.body += "|" + request.body;
    co_return response;
  }

  // Writes the pieces, then, until the stream is closed, `more` each time that it is released.
  Task<> Stream(HttpStream& stream) {
    ++streams;
    for (const char* piece : {"one\n", "two\n"}) co_await stream.Write(piece);
    while (stream.IsOpen()) {
      if (!co_await released.Wait(EventLoop::Now() + kShort)) continue;
      if (more.empty()) break;
      written = co_await stream.Write(more);
    }
    --streams;
  }

  Notification released;
  int requests = 0;
  int streams = 0;
  std::string more;
  std::optional<bool> written;
  std::string seen;
};

class HttpTest : public testing::Test {
 protected:
  void Start(HttpServerOptions options = {}) {
    server_.emplace(
        loop_, [this](const HttpRequest& request) { return echo_.Answer(request); }, options);
    ASSERT_TRUE(server_->Listen({"127.0.0.1", 0}));
    server_->Start();
  }

  Result<HttpResponse> Call(std::string method, std::string target, std::string body = "") {
    return Await(loop_, HttpCall(loop_, server_->address(), std::move(method), std::move(target),
                                 std::move(body), EventLoop::Now() + kLong));
  }

  Socket Connect() {
    auto socket =
        Await(loop_, Socket::Connect(loop_, server_->address(), {}, EventLoop::Now() + kLong));
    EXPECT_TRUE(socket);
    return std::move(*socket);
  }

  void Write(Socket& socket, const std::string& text) {
    std::array<iovec, 1> pieces{ToIovec(text)};
    EXPECT_TRUE(Await(loop_, socket.WriteAll(pieces)));
  }

  // Reads until the connection ends, or until `end` is there.
  std::string Read(Socket& socket, const std::string& end = "") {
    std::string text;
    std::array<std::byte, 4096> buffer;
    while (end.empty() || !text.ends_with(end)) {
      const auto bytes = Await(loop_, socket.ReadSome(buffer));
      if (!bytes) {
        end_ = bytes.error().message;
        break;
      }
      text.append(reinterpret_cast<const char*>(buffer.data()), *bytes);
    }
    return text;
  }

  // All that the server says to `text`, to the end of the connection.
  std::string Exchange(const std::string& text) {
    Socket socket = Connect();
    Write(socket, text);
    return Read(socket);
  }

  void RunUntilNobodyIsConnected() {
    RunUntil(loop_, [this] { return server_->connections() == 0; });
  }

  EventLoop loop_{"test"};
  Echo echo_{loop_};
  std::optional<HttpServer> server_;
  std::string end_;  // how the connection read last ended
};

TEST(HttpTarget, IsDecodedIntoPathAndQuery) {
  const auto target = ParseHttpTarget("/a%2Fb%00%c3%A9+?x=1+2%2b3&empty=&bare&&x=other#rest");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, std::string("/a/b\0\xC3\xA9+", 8));
  EXPECT_EQ(target->query,
            (std::map<std::string, std::string>{{"x", "1 2+3"}, {"empty", ""}, {"bare", ""}}));
  EXPECT_EQ(ParseHttpTarget("http://host:1/p?q=1")->path, "/p");
}

TEST(HttpTarget, RefusesWhatIsNoAddressAndNamesThePlace) {
  for (const char* text : {"", "*", "a/b", "host:80", "http://host", "/%", "/%4", "/%G0", "/%0G",
                           "/a?%zz=1", "/a?b=%"}) {
    const auto target = ParseHttpTarget(text);
    ASSERT_FALSE(target) << text;
    EXPECT_EQ(target.error().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_THAT(ParseHttpTarget("/ab%2").error().message, HasSubstr("position 3"));
}

TEST(HttpTarget, GivesBackAnyEncodedBytes) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  const std::string encoded = PercentEncode(all);
  const auto target = ParseHttpTarget("/" + encoded + "?k=" + encoded);
  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/" + all);
  EXPECT_EQ(target->query.at("k"), all);
}

TEST_F(HttpTest, TheHandlerGetsTheDecodedRequestAndTheClientItsAnswer) {
  Start();
  const auto got = Call("GET", "/k%2F%20e?a=%3D&b");
  ASSERT_TRUE(got) << got.error().ToString();
  EXPECT_EQ(got->status, 200);
  EXPECT_EQ(got->content_type, "text/echo");
  EXPECT_EQ(got->body, "GET /k/ e|a==|b=|");
  EXPECT_THAT(got->headers, testing::Contains(std::pair<std::string, std::string>(
                                "X-Path", PercentEncode("/k/ e"))));
  const auto posted = Call("POST", "/p", std::string("bo\0dy", 5));
  ASSERT_TRUE(posted) << posted.error().ToString();
  EXPECT_EQ(posted->status, 201);
  EXPECT_EQ(posted->body, std::string("POST /p|bo\0dy", 13));
}

TEST_F(HttpTest, HeadIsAnsweredLikeGetWithoutTheBody) {
  Start();
  const std::string answer = Exchange("HEAD /x HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 8\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n"));
  const auto response = Call("HEAD", "/x");
  ASSERT_TRUE(response) << response.error().ToString();
  EXPECT_EQ(response->body, "");
}

TEST_F(HttpTest, AConnectionServesManyRequests) {
  Start();
  Socket socket = Connect();
  for (int i = 0; i < 3; ++i) {
    Write(socket, "GET /a HTTP/1.1\r\n\r\n");
    const std::string answer = Read(socket, "GET /a|");
    EXPECT_THAT(answer, HasSubstr("Connection: keep-alive\r\n"));
  }
  EXPECT_EQ(server_->connections(), 1U);
  EXPECT_EQ(echo_.requests, 3);
  Write(socket, "GET /b HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(Read(socket), HasSubstr("Connection: close\r\n"));
}

TEST_F(HttpTest, AnOldClientIsClosedUnlessItAsksToStay) {
  Start();
  EXPECT_THAT(Exchange("GET /a HTTP/1.0\r\n\r\n"), EndsWith("GET /a|"));
  Socket socket = Connect();
  for (int i = 0; i < 2; ++i) {
    Write(socket, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_THAT(Read(socket, "GET /a|"), HasSubstr("Connection: keep-alive\r\n"));
  }
}

TEST_F(HttpTest, PipelinedRequestsAreAnsweredInOrder) {
  Start();
  const std::string answers = Exchange(
      "GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /3 HTTP/1.1\r\n"
      "Connection: close\r\n\r\n");
  const std::size_t first = answers.find("GET /1|");
  const std::size_t second = answers.find("POST /2|hi");
  ASSERT_NE(second, std::string::npos);
  EXPECT_LT(first, second);
  EXPECT_THAT(answers, EndsWith("GET /3|"));
}

TEST_F(HttpTest, ARequestMayArriveByteByByte) {
  Start();
  Socket socket = Connect();
  const std::string request = "POST /slow HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
  for (const char byte : request) Write(socket, std::string(1, byte));
  EXPECT_THAT(Read(socket, "POST /slow|abc"), StartsWith("HTTP/1.1 201 Created\r\n"));
}

TEST_F(HttpTest, AHeadAboveItsBoundIsRefusedWhereverItsBytesAre) {
  Start();
  const HttpServerOptions options;
  const std::string tail = " HTTP/1.1\r\nConnection: close\r\n\r\n";
  const std::string line = "GET /";
  const std::string fitting =
      line + std::string(options.head_bytes_max - line.size() - tail.size(), 'p') + tail;
  EXPECT_THAT(Exchange(fitting), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Exchange(line + "p" + fitting.substr(line.size())), StartsWith("HTTP/1.1 431 "));
  const std::string half(options.head_bytes_max / 2, 'p');
  EXPECT_THAT(Exchange(line + half + " HTTP/1.1\r\nX: " + half + "\r\n\r\n"),
              StartsWith("HTTP/1.1 431 "));
  // Refused as soon as it is certain: the head has no end.
  EXPECT_THAT(Exchange(line + half + half), StartsWith("HTTP/1.1 431 "));
  EXPECT_EQ(echo_.requests, 1);
}

TEST_F(HttpTest, ABodyAboveItsBoundIsRefusedBeforeItArrives) {
  Start();
  const HttpServerOptions options;
  const std::string body(options.body_bytes_max, 'b');
  const auto fitting = Call("POST", "/", body);
  ASSERT_TRUE(fitting) << fitting.error().ToString();
  EXPECT_EQ(fitting->body, "POST /|" + body);
  EXPECT_THAT(Exchange("POST / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
  const auto large = Call("POST", "/", body + "b");
  ASSERT_TRUE(large) << large.error().ToString();
  EXPECT_EQ(large->status, 413);
}

TEST_F(HttpTest, ARefusedClientThatStillSendsSeesTheReasonAndNoReset) {
  Start();
  EXPECT_THAT(
      Exchange("POST / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n" + std::string(50'000, 'b')),
      StartsWith("HTTP/1.1 413 "));
  EXPECT_EQ(end_, "read: connection closed");
}

TEST_F(HttpTest, WhatIsNoRequestIsRefusedAndTheConnectionClosed) {
  Start();
  for (const char* request :
       {"*1\r\n$4\r\nPING\r\n", "GET / HTTP/3.0\r\n\r\n", "GET /%zz HTTP/1.1\r\n\r\n",
        "GET nowhere HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nbroken\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"}) {
    EXPECT_THAT(Exchange(request), StartsWith("HTTP/1.1 400 ")) << request;
  }
  EXPECT_THAT(Exchange("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 411 "));
  EXPECT_THAT(Exchange("POST / HTTP/1.1\r\nContent-Length: 1\r\nExpect: a miracle\r\n\r\n"),
              StartsWith("HTTP/1.1 417 "));
  EXPECT_EQ(echo_.requests, 0);
}

TEST_F(HttpTest, AClientThatAsksFirstIsToldToGoOn) {
  Start();
  Socket socket = Connect();
  Write(socket, "POST /e HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n");
  EXPECT_EQ(Read(socket, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  Write(socket, "ok");
  EXPECT_THAT(Read(socket, "|ok"), StartsWith("HTTP/1.1 201 "));
}

TEST_F(HttpTest, AClientThatVanishesLeavesNothingBehind) {
  Start();
  for (const char* part : {"", "GET /va", "GET / HTTP/1.1\r\nX: y\r\n",
                           "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf"}) {
    Socket socket = Connect();
    Write(socket, part);
    RunUntil(loop_, [this] { return server_->connections() == 1; });
    socket.Close();
    RunUntilNobodyIsConnected();
  }
  {
    Socket socket = Connect();
    Write(socket, "GET /large?bytes=67108864 HTTP/1.1\r\n\r\n");
    RunUntil(loop_, [this] { return echo_.requests == 1; });
    socket.Close();
    RunUntilNobodyIsConnected();
  }
  Socket socket = Connect();
  Write(socket, "GET /wait HTTP/1.1\r\n\r\n");
  RunUntil(loop_, [this] { return echo_.requests == 2; });
  socket.Close();
  echo_.released.Notify();
  RunUntilNobodyIsConnected();
  EXPECT_TRUE(Call("GET", "/alive"));
}

TEST_F(HttpTest, AStalledRequestIsGivenUpAtItsDeadline) {
  Start({.request_timeout = kShort, .idle_timeout = kLong});
  EXPECT_EQ(Exchange("GET / HT"), "");
  EXPECT_EQ(Exchange("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na"), "");
  EXPECT_EQ(echo_.requests, 0);
}

TEST_F(HttpTest, AnAnswerThatNobodyReadsIsGivenUpAtItsDeadline) {
  Start({.request_timeout = kShort, .idle_timeout = kLong});
  Socket socket = Connect();
  Write(socket, "GET /large?bytes=67108864 HTTP/1.1\r\n\r\n");
  RunUntil(loop_, [this] { return echo_.requests == 1; });
  RunUntilNobodyIsConnected();
}

TEST_F(HttpTest, AnIdleConnectionIsClosedAtItsDeadline) {
  Start({.request_timeout = kLong, .idle_timeout = kShort});
  EXPECT_EQ(Exchange(""), "");
}

TEST_F(HttpTest, AHandlerMayTakeLongerThanTheDeadlines) {
  Start({.request_timeout = kShort, .idle_timeout = kLong});
  Socket waiting = Connect();
  Write(waiting, "GET /wait HTTP/1.1\r\nConnection: close\r\n\r\n");
  RunUntil(loop_, [this] { return echo_.requests == 1; });
  // When this later request is given up, the deadline of the first has passed.
  EXPECT_EQ(Exchange("GET / HT"), "");
  echo_.released.Notify();
  EXPECT_THAT(Read(waiting), EndsWith("GET /wait|"));
}

TEST_F(HttpTest, OneConnectionTooManyIsRefusedAndTheOthersGoOn) {
  Start({.connections_max = 2});
  Socket first = Connect();
  Socket second = Connect();
  RunUntil(loop_, [this] { return server_->connections() == 2; });
  EXPECT_THAT(Exchange(""), StartsWith("HTTP/1.1 503 "));
  first.Close();
  RunUntil(loop_, [this] { return server_->connections() == 1; });
  EXPECT_TRUE(Call("GET", "/free"));
  Write(second, "GET /b HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(Read(second), EndsWith("GET /b|"));
}

TEST_F(HttpTest, HeadersComeByTheirNameInLowerCase) {
  Start();
  Exchange("GET /headers HTTP/1.1\r\nX-One: a b\r\nLAST-Event-ID: 7\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(echo_.seen, "connection=close|last-event-id=7|x-one=a b|");
}

TEST_F(HttpTest, AStreamIsSentPieceByPieceAndEndsWithItsConnection) {
  Start();
  Socket socket = Connect();
  Write(socket, "GET /stream HTTP/1.1\r\n\r\n");
  const std::string begin = Read(socket, "two\n");
  EXPECT_THAT(begin, StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(begin, HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_THAT(begin, testing::Not(HasSubstr("Content-Length")));
  EXPECT_THAT(begin, EndsWith("\r\n\r\none\ntwo\n"));
  echo_.more = "three\n";
  echo_.released.Notify();
  EXPECT_EQ(Read(socket, "three\n"), "three\n") << "the stream outlives its first pieces";
  echo_.more.clear();
  echo_.released.Notify();
  EXPECT_EQ(Read(socket), "");
  RunUntilNobodyIsConnected();
}

TEST_F(HttpTest, HeadOfAStreamDoesNotBeginIt) {
  Start();
  Socket socket = Connect();
  Write(socket, "HEAD /stream HTTP/1.1\r\n\r\n");
  EXPECT_THAT(Read(socket, "\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  Write(socket, "GET /b HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(Read(socket), EndsWith("GET /b|")) << "the connection goes on";
  EXPECT_EQ(echo_.streams, 0);
}

TEST_F(HttpTest, AStreamSeesThatItsClientLeft) {
  Start();
  Socket socket = Connect();
  Write(socket, "GET /stream HTTP/1.1\r\n\r\n");
  Read(socket, "two\n");
  EXPECT_EQ(echo_.streams, 1);
  socket.Close();
  RunUntilNobodyIsConnected();
  EXPECT_EQ(echo_.streams, 0);
}

TEST_F(HttpTest, AClientThatTakesNothingEndsItsStream) {
  Start({.request_timeout = kShort});
  Socket socket = Connect();
  Write(socket, "GET /stream HTTP/1.1\r\n\r\n");
  Read(socket, "two\n");
  echo_.more.assign(64 * kMiB, 'x');  // more than sockets hold
  echo_.released.Notify();
  RunUntilNobodyIsConnected();
  EXPECT_EQ(echo_.written, false);
}

TEST_F(HttpTest, StopEndsStreams) {
  Start();
  Socket socket = Connect();
  Write(socket, "GET /stream HTTP/1.1\r\n\r\n");
  Read(socket, "two\n");
  server_->Stop();
  EXPECT_EQ(Read(socket), "");
  RunUntil(loop_, [this] { return loop_.active_tasks() == 0; });
  EXPECT_EQ(echo_.streams, 0);
}

TEST_F(HttpTest, StopClosesEveryConnectionAndRefusesNewOnes) {
  Start();
  const HostPort address = server_->address();
  Socket idle = Connect();
  Socket waiting = Connect();
  Write(waiting, "GET /wait HTTP/1.1\r\n\r\n");
  RunUntil(loop_, [this] { return echo_.requests == 1; });
  server_->Stop();
  EXPECT_EQ(Read(idle), "");
  EXPECT_EQ(Read(waiting), "");
  echo_.released.Notify();
  RunUntilNobodyIsConnected();
  RunUntil(loop_, [this] { return loop_.active_tasks() == 0; });
  const auto refused = Await(loop_, HttpGet(loop_, address, "/", EventLoop::Now() + kLong));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
}

TEST_F(HttpTest, ConnectionsMayOutliveTheServer) {
  Start();
  Socket waiting = Connect();
  Write(waiting, "GET /wait HTTP/1.1\r\n\r\n");
  RunUntil(loop_, [this] { return echo_.requests == 1; });
  server_.reset();
  echo_.released.Notify();
  EXPECT_EQ(Read(waiting), "");
  RunUntil(loop_, [this] { return loop_.active_tasks() == 0; });
}

}  // namespace
}  // namespace infinicache::net
