#include "net/http_server.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <ctime>
#include <optional>
#include <set>

#include "base/log.h"
#include "net/timer.h"

namespace infinicache::net {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

constexpr std::size_t kReadBytes = 16 * kKiB;
// After a refusal the client is read on for a while: closing over unread bytes resets the
// connection, and the client would not see why it was refused.
constexpr std::size_t kLingerBytes = 256 * kKiB;
constexpr Duration kLingerTimeout = std::chrono::seconds(2);
constexpr Duration kAcceptRetry = std::chrono::milliseconds(50);

int HexValue(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

Result<std::string> PercentDecode(std::string_view text, bool plus_is_blank) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded.push_back(text[i] == '+' && plus_is_blank ? ' ' : text[i]);
      continue;
    }
    const int high = i + 2 < text.size() ? HexValue(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? HexValue(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("'%' at position {} of the address is not followed by two "
                              "hexadecimal digits; write %25 for a percent sign",
                              i));
    }
    decoded.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return decoded;
}

Status ParseQuery(std::string_view query, std::map<std::string, std::string>& out) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    auto name = PercentDecode(pair.substr(0, equals), true);
    if (!name) return tl::make_unexpected(name.error());
    auto value = PercentDecode(
        equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1), true);
    if (!value) return tl::make_unexpected(value.error());
    out.emplace(std::move(*name), std::move(*value));
  }
  return {};
}

std::string ResponseHead(const HttpResponse& response, bool keep_alive) {
  const auto status = http::int_to_status(static_cast<unsigned>(response.status));
  std::string head = fmt::format(
      "HTTP/1.1 {} {}\r\nDate: {:%a, %d %b %Y %H:%M:%S} GMT\r\nConnection: {}\r\n"
      "Content-Type: {}\r\n",
      response.status, std::string_view(http::obsolete_reason(status)),
      fmt::gmtime(std::time(nullptr)), keep_alive ? "keep-alive" : "close", response.content_type);
  if (!response.stream) head += fmt::format("Content-Length: {}\r\n", response.body.size());
  for (const auto& [name, value] : response.headers) {
    head.append(name).append(": ").append(value).append("\r\n");
  }
  return head += "\r\n";
}

std::map<std::string, std::string> HeadersOf(const http::request<http::string_body>& message) {
  std::map<std::string, std::string> headers;
  for (const auto& field : message) {
    std::string name(field.name_string());
    for (char& letter : name)
      if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    headers[std::move(name)] = field.value();
  }
  return headers;
}

struct Refusal {
  int status;
  std::string reason;
};

Refusal RefusalFor(const error_code& error, const HttpServerOptions& options) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return {431, fmt::format("the head of the request exceeds {} bytes", options.head_bytes_max)};
  }
  if (error == http::error::body_limit) {
    return {413, fmt::format("the body of the request exceeds {} bytes", options.body_bytes_max)};
  }
  return {400, fmt::format("not an HTTP/1.1 request: {}", error.message())};
}

}  // namespace

Result<HttpTarget> ParseHttpTarget(std::string_view target) {
  if (!target.starts_with('/')) {
    const std::size_t scheme = target.find("://");
    const std::size_t path =
        scheme == std::string_view::npos ? scheme : target.find('/', scheme + 3);
    if (path == std::string_view::npos) {
      return Fail(ErrorCode::kInvalidArgument, "the address of a request begins with '/'");
    }
    target.remove_prefix(path);
  }
  target = target.substr(0, target.find('#'));
  const std::size_t question = target.find('?');
  auto path = PercentDecode(target.substr(0, question), false);
  if (!path) return tl::make_unexpected(path.error());
  HttpTarget result{std::move(*path), {}};
  if (question != std::string_view::npos) {
    if (auto status = ParseQuery(target.substr(question + 1), result.query); !status)
      return tl::make_unexpected(status.error());
  }
  return result;
}

std::string PercentEncode(std::string_view bytes) {
  static constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string encoded;
  encoded.reserve(bytes.size());
  for (const char byte : bytes) {
    if (kPlain.find(byte) != std::string_view::npos) {
      encoded.push_back(byte);
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(byte));
    }
  }
  return encoded;
}

struct HttpServer::State {
  State(EventLoop& l, Handler h, HttpServerOptions o)
      : loop(l), handler(std::move(h)), options(o), listener(l) {}

  EventLoop& loop;
  const Handler handler;
  const HttpServerOptions options;
  Listener listener;
  std::set<Connection*> connections;
  bool stopped = false;
};

class HttpServer::Connection final : private HttpStream {
 public:
  Connection(std::shared_ptr<State> server, Socket socket)
      : server_(std::move(server)), socket_(std::move(socket)), timer_(server_->loop) {}

  static Task<> Serve(std::shared_ptr<Connection> self);
  void Close() { socket_.Shutdown(); }

 private:
  using Parser = http::request_parser<http::string_body>;

  Task<bool> ServeOne();
  Task<std::optional<HttpRequest>> ReadRequest();
  // Checks what the parser does not: called when the head is complete.
  Task<std::optional<Refusal>> CheckHead(Parser& parser);
  Task<bool> Receive();
  Task<bool> Send(const HttpResponse& response, bool with_body);
  Task<bool> Write(std::string_view bytes) override;
  bool IsOpen() override;
  Task<> Refuse(const Refusal& refusal);
  // From now on; makes whatever waits fail.
  void SetDeadline(Duration after);

  const std::shared_ptr<State> server_;
  Socket socket_;
  Timer timer_;
  std::string input_;  // received, not yet parsed
  bool keep_alive_ = false;
};

Task<> HttpServer::Connection::Serve(std::shared_ptr<Connection> self) {
  State& server = *self->server_;
  bool again = true;
  while (again && !server.stopped) again = co_await self->ServeOne();
  self->timer_.Cancel();
  server.connections.erase(self.get());
}

// False: the connection has to end.
Task<bool> HttpServer::Connection::ServeOne() {
  const auto request = co_await ReadRequest();
  if (!request) co_return false;
  timer_.Cancel();
  const HttpResponse response = co_await server_->handler(*request);
  const bool with_body = request->method != "HEAD";
  if (response.stream && with_body) keep_alive_ = false;
  const bool sent = co_await Send(response, with_body);
  if (!sent) co_return false;
  timer_.Cancel();
  if (response.stream && with_body) co_await response.stream(*this);
  co_return keep_alive_;
}

// Nothing: there is no further request, or it was refused.
Task<std::optional<HttpRequest>> HttpServer::Connection::ReadRequest() {
  const HttpServerOptions& options = server_->options;
  if (input_.empty()) {
    SetDeadline(options.idle_timeout);
    const bool received = co_await Receive();
    if (!received) co_return std::nullopt;
  }
  SetDeadline(options.request_timeout);
  Parser parser;
  parser.header_limit(static_cast<std::uint32_t>(options.head_bytes_max));
  parser.body_limit(options.body_bytes_max);
  std::size_t head_bytes = 0;
  bool head_checked = false;
  std::optional<Refusal> refusal;
  while (!parser.is_done() && !refusal) {
    error_code error;
    const std::size_t parsed = parser.put(boost::asio::buffer(input_), error);
    input_.erase(0, parsed);
    // The parser limits the first line and the fields each, we the sum.
    if (!head_checked) head_bytes += parsed;
    if (head_bytes > options.head_bytes_max) error = http::error::header_limit;
    if (error && error != http::error::need_more) refusal = RefusalFor(error, options);
    if (!refusal && parser.is_header_done() && !head_checked) {
      head_checked = true;
      refusal = co_await CheckHead(parser);
    }
    if (refusal || parser.is_done() || (!error && parsed > 0)) continue;
    const bool received = co_await Receive();
    if (!received) co_return std::nullopt;
  }
  if (!refusal) {
    auto target = ParseHttpTarget(parser.get().target());
    keep_alive_ = parser.get().keep_alive();
    if (target) {
      auto headers = HeadersOf(parser.get());
      co_return HttpRequest{parser.get().method_string(), std::move(*target),
                            std::move(parser.get().body()), std::move(headers)};
    }
    refusal = Refusal{400, target.error().message};
  }
  co_await Refuse(*refusal);
  co_return std::nullopt;
}

Task<std::optional<Refusal>> HttpServer::Connection::CheckHead(Parser& parser) {
  if (parser.chunked()) co_return Refusal{411, "send the body with a Content-Length"};
  const std::string_view expected = parser.get()[http::field::expect];
  if (expected.empty() || parser.is_done()) co_return std::nullopt;
  if (!boost::beast::iequals(expected, "100-continue"))
    co_return Refusal{417, "only 100-continue can be expected"};
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  std::array<iovec, 1> pieces{ToIovec(kContinue)};
  // If this fails, so will the next read.
  (void)co_await socket_.WriteAll(pieces);
  co_return std::nullopt;
}

// False: the connection ended, by the client or by its deadline.
Task<bool> HttpServer::Connection::Receive() {
  const std::size_t before = input_.size();
  input_.resize(before + kReadBytes);
  const auto bytes =
      co_await socket_.ReadSome(std::as_writable_bytes(std::span(input_).subspan(before)));
  input_.resize(before + bytes.value_or(0));
  co_return bytes.has_value();
}

Task<bool> HttpServer::Connection::Send(const HttpResponse& response, bool with_body) {
  SetDeadline(server_->options.request_timeout);
  const std::string head = ResponseHead(response, keep_alive_);
  const std::string_view body = with_body ? std::string_view(response.body) : std::string_view();
  std::array<iovec, 2> pieces{ToIovec(head), ToIovec(body)};
  const Status sent = co_await socket_.WriteAll(pieces);
  co_return sent.has_value();
}

Task<bool> HttpServer::Connection::Write(std::string_view bytes) {
  SetDeadline(server_->options.request_timeout);
  std::array<iovec, 1> pieces{ToIovec(bytes)};
  const Status sent = co_await socket_.WriteAll(pieces);
  timer_.Cancel();
  co_return sent.has_value();
}

bool HttpServer::Connection::IsOpen() {
  if (server_->stopped) return false;
  // What a client sends meanwhile is left where it is: the connection ends with the stream.
  char byte = 0;
  const ssize_t got = ::recv(socket_.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got > 0 || (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
}

Task<> HttpServer::Connection::Refuse(const Refusal& refusal) {
  keep_alive_ = false;
  HttpResponse response;
  response.status = refusal.status;
  response.body = refusal.reason + "\n";
  const bool sent = co_await Send(response, true);
  if (!sent) co_return;
  ::shutdown(socket_.fd(), SHUT_WR);
  SetDeadline(kLingerTimeout);
  for (std::size_t skipped = 0; skipped < kLingerBytes; skipped += input_.size()) {
    input_.clear();
    const bool received = co_await Receive();
    if (!received) break;
  }
}

void HttpServer::Connection::SetDeadline(Duration after) {
  timer_.Start(after, [this] { socket_.Shutdown(); });
}

HttpServer::HttpServer(EventLoop& loop, Handler handler, HttpServerOptions options)
    : state_(std::make_shared<State>(loop, std::move(handler), options)) {}

HttpServer::~HttpServer() {
  Stop();
}

Status HttpServer::Listen(const HostPort& address) {
  return state_->listener.Listen(address);
}

void HttpServer::Start() {
  state_->loop.Spawn(AcceptConnections(state_));
}

void HttpServer::Stop() {
  state_->stopped = true;
  state_->listener.Close();
  for (Connection* connection : state_->connections) connection->Close();
}

HostPort HttpServer::address() const {
  return state_->listener.address();
}

std::size_t HttpServer::connections() const {
  return state_->connections.size();
}

Task<> HttpServer::AcceptConnections(std::shared_ptr<State> state) {
  while (!state->stopped) {
    auto socket = co_await state->listener.Accept(state->loop);
    if (state->stopped) co_return;
    if (!socket) {
      LOG_WARN_EVERY(std::chrono::seconds(1), "http: {}", socket.error().ToString());
      co_await state->loop.Sleep(kAcceptRetry);
      continue;
    }
    socket->Configure({});
    if (state->connections.size() >= state->options.connections_max) {
      const HttpResponse refusal{503, "text/plain", "too many connections; try again later\n"};
      const std::string text = ResponseHead(refusal, false) + refusal.body;
      const iovec piece = ToIovec(text);
      if (!socket->TryWrite(std::span(&piece, 1))) LOG_DEBUG("a refused HTTP client left first");
      continue;
    }
    auto connection = std::make_shared<Connection>(state, std::move(*socket));
    state->connections.insert(connection.get());
    state->loop.Spawn(Connection::Serve(std::move(connection)));
  }
}

}  // namespace infinicache::net
