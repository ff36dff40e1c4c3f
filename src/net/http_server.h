// A small HTTP/1.1 server for operators and probes, and the plain messages that it shares with the
// client (net/http_client.h).
//
// It is not on the data path: one event loop, bodies as whole strings, everything bounded
// (HttpServerOptions). Connections are kept alive, and pipelined requests answered in order. An
// answer whose end is not known when it begins is streamed (HttpStream). What
// is not a request is answered with its status (400, 411, 413, 417, 431) and the connection closed;
// a client that goes away or stalls costs its connection and nothing else. HEAD is answered like
// GET, without the body.
//
// Thread-safety: none; one event loop.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "net/event_loop.h"
#include "net/socket.h"
#include "net/task.h"

namespace infinicache::net {

// Where a request goes, decoded: any bytes may be in it.
struct HttpTarget {
  std::string path;                          // begins with '/'
  std::map<std::string, std::string> query;  // the first of a repeated name counts
};

struct HttpRequest {
  std::string method;  // as sent: "GET"
  HttpTarget target;
  std::string body = {};
  std::map<std::string, std::string> headers = {};  // by lower-case name; of several, the last
};

// Where a streamed body goes, piece by piece.
class HttpStream {
 public:
  // Sends all of `bytes`. False: the client is gone, does not take them within the server's
  // request_timeout, or the server stops. The stream is then closed.
  virtual Task<bool> Write(std::string_view bytes) = 0;
  // False once the client has closed its side or the server stops. One system call.
  virtual bool IsOpen() = 0;

 protected:
  ~HttpStream() = default;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  // Further header fields. A server adds them (they must hold no line breaks); a client gets all of
  // them but Content-Type.
  std::vector<std::pair<std::string, std::string>> headers = {};
  // For a server: sends the body, instead of `body`; not called for HEAD. The connection ends with
  // it, which is how the client sees the end. It looks at IsOpen now and then, and returns when
  // that is false.
  std::function<Task<>(HttpStream&)> stream = {};
};

// Parses "/path?a=1&b=2" (or its form with scheme and host). In the query '+' is a blank, as HTML
// forms send it. Errors: kInvalidArgument, naming what is wrong.
Result<HttpTarget> ParseHttpTarget(std::string_view target);

// Encodes all bytes but letters, digits and "-._~" as %XX, so that the result is one segment of a
// path or one value of a query.
std::string PercentEncode(std::string_view bytes);

struct HttpServerOptions {
  std::size_t connections_max = 64;  // one more is answered 503
  std::size_t head_bytes_max = 16 * kKiB;
  std::size_t body_bytes_max = 64 * kKiB;
  Duration request_timeout = std::chrono::seconds(30);  // to receive a request; to send an answer
  Duration idle_timeout = std::chrono::seconds(60);     // between requests
};

class HttpServer {
 public:
  // Answers one request, which lives until the task ends, and so does what it streams. It bounds
  // its own time.
  using Handler = std::function<Task<HttpResponse>(const HttpRequest&)>;

  // REQUIRES: what the handler refers to outlives its last call, so all connections (see
  // connections()) or the loop.
  HttpServer(EventLoop& loop, Handler handler, HttpServerOptions options = {});
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  // Stops, if that was not done.
  ~HttpServer();

  // Errors: as Listener::Listen.
  Status Listen(const HostPort& address);
  // Begins to serve. REQUIRES: Listen succeeded.
  void Start();
  // Stops accepting and closes all connections; they are gone soon after.
  void Stop();

  HostPort address() const;
  std::size_t connections() const;

 private:
  class Connection;
  struct State;

  static Task<> AcceptConnections(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;  // shared with the connections, which may outlive the server
};

}  // namespace infinicache::net
