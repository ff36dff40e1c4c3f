#include "net/http_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>
#include <utility>

#include "net/timer.h"

namespace infinicache::net {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;
using Parser = http::response_parser<http::string_body>;

constexpr std::size_t kReadBytes = 64 * kKiB;
constexpr std::uint32_t kHeadBytesMax = 64 * kKiB;

bool IsVisible(char c) {
  return c > ' ' && c < 0x7F;
}

Status CheckRequest(std::string_view method, std::string_view target) {
  if (!method.empty() && std::all_of(method.begin(), method.end(), IsVisible) &&
      target.starts_with('/') && std::all_of(target.begin(), target.end(), IsVisible)) {
    return {};
  }
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("'{} {}' is not an HTTP request; encode special characters as %XX",
                          method, target));
}

Error ParseError(const error_code& error) {
  if (error == http::error::body_limit) {
    return {ErrorCode::kTooLarge,
            fmt::format("the answer exceeds {}", FormatByteSize(kHttpResponseBytesMax))};
  }
  return {ErrorCode::kProtocol, fmt::format("not an HTTP answer: {}", error.message())};
}

HttpResponse ToResponse(http::response<http::string_body>& message) {
  HttpResponse response;
  response.status = static_cast<int>(message.result_int());
  response.content_type = message[http::field::content_type];
  response.body = std::move(message.body());
  for (const auto& field : message) {
    if (field.name() == http::field::content_type) continue;
    response.headers.emplace_back(field.name_string(), field.value());
  }
  return response;
}

// Reads one message. `input` is what has been received beyond it.
Task<Status> ReadMessage(Socket& socket, Parser& parser, std::string& input) {
  while (!parser.is_done()) {
    error_code error;
    const std::size_t parsed = parser.put(boost::asio::buffer(input), error);
    input.erase(0, parsed);
    if (error && error != http::error::need_more) co_return tl::make_unexpected(ParseError(error));
    // The end of such a body looks like that of a connection cut off.
    if (parser.is_header_done() && parser.need_eof())
      co_return Fail(ErrorCode::kProtocol, "the answer does not tell its length");
    if (parser.is_done() || (!error && parsed > 0)) continue;
    const std::size_t before = input.size();
    input.resize(before + kReadBytes);
    const auto bytes =
        co_await socket.ReadSome(std::as_writable_bytes(std::span(input).subspan(before)));
    input.resize(before + bytes.value_or(0));
    if (!bytes) co_return tl::make_unexpected(bytes.error());
  }
  co_return Status{};
}

Task<Result<HttpResponse>> ReadResponse(Socket& socket, bool has_body) {
  std::string input;
  for (;;) {
    std::optional<Parser> parser(std::in_place);
    parser->header_limit(kHeadBytesMax);
    parser->body_limit(kHttpResponseBytesMax);
    parser->eager(true);
    parser->skip(!has_body);
    if (auto status = co_await ReadMessage(socket, *parser, input); !status)
      co_return tl::make_unexpected(status.error());
    // 1xx is a word in between: the answer follows.
    if (parser->get().result_int() >= 200) co_return ToResponse(parser->get());
  }
}

Task<Result<HttpResponse>> Exchange(Socket& socket, std::string request, bool has_body) {
  std::array<iovec, 1> pieces{ToIovec(request)};
  const Status sent = co_await socket.WriteAll(pieces);
  // A server may answer, and close, before it has read everything: its answer counts.
  auto response = co_await ReadResponse(socket, has_body);
  if (!response && !sent) co_return tl::make_unexpected(sent.error());
  co_return response;
}

}  // namespace

Task<Result<HttpResponse>> HttpCall(EventLoop& loop, HostPort server, std::string method,
                                    std::string target, std::string body, TimePoint deadline) {
  if (auto status = CheckRequest(method, target); !status)
    co_return tl::make_unexpected(status.error());
  auto socket = co_await Socket::Connect(loop, server, {}, deadline);
  if (!socket) co_return tl::make_unexpected(socket.error());

  bool expired = false;
  Timer timer(loop);
  timer.Start(deadline - EventLoop::Now(), [&expired, &socket = *socket] {
    expired = true;
    socket.Shutdown();
  });
  std::string request = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", method,
                                    target, server.ToString());
  const bool sends_body = !body.empty() || method == "POST" || method == "PUT";
  if (sends_body) request += fmt::format("Content-Length: {}\r\n", body.size());
  request += "\r\n" + body;
  auto response = co_await Exchange(*socket, std::move(request), method != "HEAD");
  if (response) co_return response;
  const std::string what = fmt::format("{} http://{}{}", method, server.ToString(), target);
  if (expired) co_return Fail(ErrorCode::kDeadlineExceeded, what + ": no answer in time");
  co_return Fail(response.error().code, what + ": " + response.error().message);
}

Task<Result<HttpResponse>> HttpGet(EventLoop& loop, HostPort server, std::string target,
                                   TimePoint deadline) {
  return HttpCall(loop, std::move(server), "GET", std::move(target), "", deadline);
}

}  // namespace infinicache::net
