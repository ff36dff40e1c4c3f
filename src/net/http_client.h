// One HTTP/1.1 request to a server: connect, ask, read the answer, close.
//
// For control traffic (the operator's CLI, tests): the answer is a whole string, and each call
// makes a connection of its own.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "net/event_loop.h"
#include "net/http_server.h"
#include "net/socket.h"
#include "net/task.h"

namespace infinicache::net {

inline constexpr std::size_t kHttpResponseBytesMax = 64 * kMiB;

// `target` is a path with its query, encoded (PercentEncode). A status such as 404 is an answer,
// not an error. Errors: kInvalidArgument (a method or target that would not make a request),
// kUnavailable (refused, connection ended early), kDeadlineExceeded, kTooLarge (above
// kHttpResponseBytesMax), kProtocol (not an HTTP answer, or one without a length); each names the
// address.
Task<Result<HttpResponse>> HttpCall(EventLoop& loop, HostPort server, std::string method,
                                    std::string target, std::string body, TimePoint deadline);

Task<Result<HttpResponse>> HttpGet(EventLoop& loop, HostPort server, std::string target,
                                   TimePoint deadline);

}  // namespace infinicache::net
