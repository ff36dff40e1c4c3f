#include "app/remote_commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <optional>
#include <string_view>
#include <utility>

#include "app/cost_text.h"
#include "app/duration.h"
#include "app/exit_code.h"
#include "app/status_text.h"
#include "net/event_loop.h"
#include "net/http_client.h"

namespace infinicache::app {
namespace {

int ExitCodeOf(const Error& error) {
  switch (error.code) {
    case ErrorCode::kUnavailable:
      return kExitCannotConnect;
    case ErrorCode::kDeadlineExceeded:
      return kExitTimeout;
    case ErrorCode::kInvalidArgument:
      return kExitUsage;
    default:
      return kExitRuntime;
  }
}

int ExitCodeOf(const net::HttpResponse& response) {
  if (response.status == 401 || response.status == 403) return kExitUnauthenticated;
  return response.status == 404 ? kExitNotFound : kExitRuntime;
}

int Complain(int exit_code, const std::string& message) {
  fmt::print(stderr, "infinicache: {}\n", message);
  return exit_code;
}

// The answer to one request. A loop on this thread lives just for it. It is awaited for
// `options.timeout`, and `patience` more.
Result<net::HttpResponse> Ask(const RemoteOptions& options, const std::string& method,
                              const std::string& target, Duration patience = Duration(0)) {
  const auto timeout = ParseDuration(options.timeout);
  if (!timeout) {
    return Fail(ErrorCode::kInvalidArgument, "--timeout: " + timeout.error().message);
  }
  net::EventLoop loop("cli");
  std::optional<Result<net::HttpResponse>> response;
  // All by reference: `loop` runs, and with it this call, until the coroutine is through.
  const auto ask = [](net::EventLoop& on, net::HostPort server, std::string verb, std::string path,
                      TimePoint deadline,
                      std::optional<Result<net::HttpResponse>>& answer) -> net::Task<> {
    answer = co_await net::HttpCall(on, std::move(server), std::move(verb), std::move(path), "",
                                    deadline);
    on.Stop();
  };
  loop.Spawn(ask(loop, options.admin, method, target, net::EventLoop::Now() + *timeout + patience,
                 response));
  loop.Run();
  if (!*response && response->error().code == ErrorCode::kUnavailable) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("no server answers at {} ({}): start one with `infinicache serve`, or "
                            "name its admin address with --admin",
                            options.admin.ToString(), response->error().message));
  }
  return std::move(*response);
}

// Says that the server answered otherwise than hoped; returns the exit code.
int ComplainOf(const RemoteOptions& options, const net::HttpResponse& response) {
  return Complain(ExitCodeOf(response), fmt::format("{} answers {}: {}", options.admin.ToString(),
                                                    response.status, response.body));
}

int ComplainOfNoJson(const RemoteOptions& options) {
  return Complain(kExitRuntime,
                  fmt::format("{} is no InfiniCache admin interface: its answer is not JSON",
                              options.admin.ToString()));
}

// The JSON that the server has at a target, and its text; or the exit code, after saying why.
struct Fetched {
  std::optional<boost::json::value> json = {};
  std::string text = {};
  int exit_code = kExitOk;
};

Fetched Fetch(const RemoteOptions& options, const std::string& target,
              Duration patience = Duration(0)) {
  auto response = Ask(options, "GET", target, patience);
  if (!response)
    return {.exit_code = Complain(ExitCodeOf(response.error()), response.error().message)};
  if (response->status == 404 && !options.key.empty()) {
    return {.exit_code = Complain(ExitCodeOf(*response),
                                  fmt::format("no object has the key '{}'", options.key))};
  }
  if (response->status != 200) return {.exit_code = ComplainOf(options, *response)};
  boost::system::error_code error;
  boost::json::value json = boost::json::parse(response->body, error);
  if (error) return {.exit_code = ComplainOfNoJson(options)};
  return {.json = std::move(json), .text = std::move(response->body)};
}

// Asks for `target` and prints the answer by `print`, whose result is the exit code.
int Show(const RemoteOptions& options, const std::string& target,
         int (*print)(const boost::json::value& answer, bool json)) {
  const Fetched answer = Fetch(options, target);
  if (!answer.json) return answer.exit_code;
  if (options.json) fmt::print("{}{}", answer.text, answer.text.ends_with('\n') ? "" : "\n");
  return print(*answer.json, options.json);
}

int PrintStatus(const boost::json::value& answer, bool json) {
  if (!json) fmt::print("{}", StatusText(answer));
  return IsDegraded(answer) ? kExitDegraded : kExitOk;
}

int PrintNodes(const boost::json::value& answer, bool json) {
  if (!json) fmt::print("{}", NodesText(answer));
  return AllNodesServe(answer) ? kExitOk : kExitDegraded;
}

int PrintObject(const boost::json::value& answer, bool json) {
  if (!json) fmt::print("{}", ObjectText(answer, SystemClock().WallNow()));
  return kExitOk;
}

int PrintDoctor(const boost::json::value& answer, bool json) {
  if (!json) fmt::print("{}", DoctorText(answer));
  if (HasUnreadable(answer)) return kExitDataLoss;
  return HasFindings(answer) ? kExitDegraded : kExitOk;
}

int PrintCost(const boost::json::value& answer, bool json) {
  if (!json) fmt::print("{}", CostText(answer));
  return kExitOk;
}

}  // namespace

int ShowStatus(const RemoteOptions& options) {
  return Show(options, "/api/v1/status", PrintStatus);
}

int ShowNodes(const RemoteOptions& options) {
  return Show(options, "/api/v1/nodes", PrintNodes);
}

int ShowDoctor(const RemoteOptions& options) {
  return Show(options, "/api/v1/doctor", PrintDoctor);
}

int ShowCost(const RemoteOptions& options) {
  return Show(options, "/api/v1/cost", PrintCost);
}

int ShowEvents(const RemoteOptions& options) {
  constexpr Duration kWait = std::chrono::seconds(10);
  std::uint64_t after = options.after;
  for (;;) {
    const Fetched answer =
        Fetch(options,
              fmt::format("/api/v1/events?after={}&wait_ms={}", after,
                          options.follow ? kWait / std::chrono::milliseconds(1) : 0),
              options.follow ? kWait : Duration(0));
    if (!answer.json) return answer.exit_code;
    const boost::json::object* fields = answer.json->if_object();
    const boost::json::value* events = fields == nullptr ? nullptr : fields->if_contains("events");
    if (events == nullptr || !events->is_array()) return ComplainOfNoJson(options);
    for (const boost::json::value& event : events->get_array()) {
      fmt::print("{}\n", options.json ? boost::json::serialize(event) : EventText(event));
      after = std::max(after, EventNumber(event));
    }
    std::fflush(stdout);
    // The server gives them in portions.
    if (!options.follow && events->get_array().empty()) return kExitOk;
  }
}

int ReclaimNode(const RemoteOptions& options) {
  const auto response =
      Ask(options, "POST", fmt::format("/api/v1/test/reclaim?node={}", options.node));
  if (!response) return Complain(ExitCodeOf(response.error()), response.error().message);
  if (response->status == 200) {
    fmt::print("{}",
               options.json ? response->body : fmt::format("node {} is reclaimed\n", options.node));
    return kExitOk;
  }
  // Without the hooks there is no such page.
  if (response->body.find("no such page") != std::string::npos) {
    return Complain(kExitRuntime,
                    fmt::format("the server at {} takes no instances away on command: start it "
                                "with --test-hooks on",
                                options.admin.ToString()));
  }
  return ComplainOf(options, *response);
}

int ShowObject(const RemoteOptions& options) {
  return Show(options, "/api/v1/objects/" + net::PercentEncode(options.key), PrintObject);
}

}  // namespace infinicache::app
