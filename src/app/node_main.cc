// infinicache-node: one cache node. Started by a platform, which talks to it through the
// environment (secret), the command line, and the standard streams, in lines of JSON:
//   stdout  {"port":40001,"instance":"00ab…","pid":7}   ready; port 0: does not listen
//   stdin   {"session":"00cd…","warm_up":false,"proxy":"127.0.0.1:40000","data_links":2}
//                                                       an invocation; no proxy: it dials
//   stdout  {"end":"00cd…"}                             the session has ended
// The end of stdin tells the node to end, so that it never outlives its server. With --test-hooks
// SIGUSR1 has it end without a word behind its next PONG.
//
// `infinicache-node --guard` is no node: it starts nodes for a server, which may then crash without
// them (platform/local/guard.h).
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/log.h"
#include "base/memory_limit.h"
#include "net/event_loop.h"
#include "net/shared_rate.h"
#include "net/signals.h"
#include "node/node_server.h"
#include "platform/local/guard.h"

namespace {

constexpr int kExitUsage = 2;
// Of a node that a test has told to end behind its next PONG.
constexpr int kExitAtPong = 86;

struct Flags {
  std::string listen = "127.0.0.1:0";
  std::string memory = "512MiB";
  std::string bandwidth = "0";
  std::uint64_t memory_limit = 0;
  std::uint64_t host_bandwidth = 0;
  int host_bandwidth_fd = -1;
  std::string log_level = "info";
  std::uint32_t node = 0;
  int socket_buffer = 0;
  std::int64_t session_quantum_us = -1;  // -1: standing
  std::int64_t session_max_us = 0;
  std::int64_t idle_break_even_us = 0;
  bool test_hooks = false;
  bool share_memory = false;
};

int Usage(const infinicache::Error& error) {
  fmt::print(stderr, "infinicache-node: {}\n", error.message);
  return kExitUsage;
}

infinicache::node::SessionHost::Options SessionOptions(const Flags& flags,
                                                       std::uint64_t memory_bytes) {
  using infinicache::policy::SessionLifetime;
  using std::chrono::microseconds;
  infinicache::node::SessionHost::Options options;
  options.standing = flags.session_quantum_us < 0;
  if (options.standing) return options;
  options.lifetime.quantum = microseconds(flags.session_quantum_us);
  options.lifetime.maximum = microseconds(flags.session_max_us);
  options.lifetime.safety_buffer = SessionLifetime::SafetyBuffer(memory_bytes);
  options.lifetime.preflight_window = SessionLifetime::PreflightWindow(memory_bytes);
  // The first request may follow cold starts of a dozen nodes at once.
  options.lifetime.round_trip.initial = std::chrono::milliseconds(100);
  // Time for what runs when the session stops to accept, but most of it is for requests.
  options.lifetime.drain =
      std::min<infinicache::Duration>(std::chrono::seconds(10), options.lifetime.maximum / 10);
  const microseconds break_even(flags.idle_break_even_us);
  options.lifetime.idle_cost_per_second = 1;
  options.lifetime.invocation_cost = std::chrono::duration<double>(break_even).count();
  options.lifetime.idle_max = std::max<infinicache::Duration>(break_even, microseconds(1));
  return options;
}

infinicache::Result<infinicache::node::NodeOptions> ToOptions(const Flags& flags) {
  using namespace infinicache;
  node::NodeOptions options;
  auto listen = flags.listen == "off" ? Result<net::HostPort>(net::HostPort{})
                                      : net::ParseHostPort(flags.listen);
  if (!listen) return tl::make_unexpected(listen.error());
  const auto memory = ParseByteSize(flags.memory);
  if (!memory) return tl::make_unexpected(memory.error());
  const auto bandwidth = ParseByteSize(flags.bandwidth);
  if (!bandwidth) return tl::make_unexpected(bandwidth.error());
  if (*memory < 4 * kMiB)
    return Fail(ErrorCode::kInvalidArgument, "--memory must be at least 4MiB");
  if (flags.session_quantum_us >= 0 && flags.session_max_us < 100'000)
    return Fail(ErrorCode::kInvalidArgument, "--session-max-us must be at least 100000");
  const char* secret = std::getenv("INFINICACHE_NODE_SECRET");
  if (secret == nullptr || *secret == '\0') {
    return Fail(ErrorCode::kInvalidArgument,
                "INFINICACHE_NODE_SECRET is not set: a node needs its pool's secret");
  }
  options.listen = *listen;
  options.memory_bytes = *memory;
  options.node = NodeId(flags.node);
  options.secret = secret;
  options.socket = {flags.socket_buffer, *bandwidth, nullptr};
  if (flags.host_bandwidth > 0) {
    auto rate = net::SharedRate::Open(flags.host_bandwidth_fd, flags.host_bandwidth);
    if (!rate) return tl::make_unexpected(rate.error());
    options.socket.shared_rate = std::move(*rate);
  }
  if (flags.memory_limit > 0) {
    if (auto limited = LimitMemory(flags.memory_limit); !limited)
      return tl::make_unexpected(limited.error());
  }
  options.test_hooks = flags.test_hooks;
  options.share_memory = flags.share_memory;
  options.session = SessionOptions(flags, *memory);
  unsetenv("INFINICACHE_NODE_SECRET");
  return options;
}

// Errors: kInvalidArgument, quoting what is wrong.
infinicache::Result<infinicache::node::Invocation> ParseInvocation(std::string_view line) {
  namespace json = boost::json;
  using namespace infinicache;
  const auto wrong = [&] {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("not an invocation: '{}'", line.substr(0, 200)));
  };
  boost::system::error_code error;
  const json::value value = json::parse({line.data(), line.size()}, error);
  const json::object* object = error ? nullptr : value.if_object();
  if (object == nullptr) return wrong();
  const json::value* session = object->if_contains("session");
  const json::value* warm_up = object->if_contains("warm_up");
  const json::value* proxy = object->if_contains("proxy");
  const json::value* links = object->if_contains("data_links");
  if (session == nullptr || !session->is_string() || warm_up == nullptr || !warm_up->is_bool() ||
      proxy == nullptr || !proxy->is_string() || links == nullptr || !links->is_int64() ||
      links->get_int64() < 0 || links->get_int64() > 1024)
    return wrong();
  std::uint64_t id = 0;
  const auto& text = session->get_string();
  std::from_chars(text.data(), text.data() + text.size(), id, 16);
  if (id == 0) return wrong();
  node::Invocation invocation;
  invocation.session = SessionId(id);
  using Opening = policy::SessionLifetime::Opening;
  invocation.opening = warm_up->get_bool() ? Opening::kWarmUp : Opening::kRequest;
  invocation.data_links = static_cast<std::uint16_t>(links->get_int64());
  if (proxy->get_string().empty()) return invocation;
  auto address = net::ParseHostPort(std::string(proxy->get_string()));
  if (!address) return wrong();
  invocation.proxy = *address;
  return invocation;
}

// The lines of standard input, each an invocation. Calls `at_end` once, at their end.
class Invocations {
 public:
  static constexpr std::size_t kLineBytesMax = 4096;

  Invocations(infinicache::net::EventLoop& loop, infinicache::node::NodeServer& server,
              std::function<void()> at_end)
      : server_(server), at_end_(std::move(at_end)) {
    const int fd = dup(STDIN_FILENO);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    fd_ = fd;
    watch_.emplace(loop, fd, [this] { Read(); });
  }

 private:
  void Read() {
    std::array<char, 4096> buffer;
    const ssize_t bytes = read(fd_, buffer.data(), buffer.size());
    if (bytes < 0 && errno == EAGAIN) return;
    if (bytes <= 0 || text_.size() > kLineBytesMax) {
      watch_.reset();
      at_end_();
      return;
    }
    text_.append(buffer.data(), static_cast<std::size_t>(bytes));
    for (std::size_t end = 0; (end = text_.find('\n')) != std::string::npos;) {
      const auto invocation = ParseInvocation(std::string_view(text_).substr(0, end));
      text_.erase(0, end + 1);
      if (invocation) {
        server_.Invoke(*invocation);
      } else {
        LOG_ERROR("{}", invocation.error().message);
      }
    }
  }

  infinicache::node::NodeServer& server_;
  std::function<void()> at_end_;
  int fd_ = -1;  // the watch's
  std::string text_;
  std::optional<infinicache::net::ReadWatch> watch_;
};

// Stops the loop when the links' tasks have ended, so that nothing of theirs is left behind.
infinicache::net::Task<> StopWhenIdle(infinicache::net::EventLoop& loop) {
  using infinicache::net::EventLoop;
  const infinicache::TimePoint deadline = EventLoop::Now() + std::chrono::seconds(1);
  while (loop.active_tasks() > 1 && EventLoop::Now() < deadline)
    co_await loop.Sleep(std::chrono::milliseconds(1));
  loop.Stop();
}

}  // namespace

int main(int argc, char** argv) {
  using namespace infinicache;
  Flags flags;
  int parent = 0;
  bool guard = false;
  CLI::App app(
      "One cache node of an InfiniCache pool: keeps chunks in its memory and serves them to the "
      "proxy.");
  app.set_version_flag("--version", INFINICACHE_VERSION);
  app.add_option("--listen", flags.listen, "address for links, or off; port 0 takes a free one")
      ->capture_default_str();
  app.add_option("--memory", flags.memory, "memory for chunks")->capture_default_str();
  app.add_option("--bandwidth", flags.bandwidth, "bytes per second and link, 0 for unlimited")
      ->capture_default_str();
  app.add_option("--memory-limit", flags.memory_limit,
                 "bytes of private memory that the kernel allows the process, 0 for unlimited");
  app.add_option("--host-bandwidth", flags.host_bandwidth,
                 "bytes per second that all instances of a host share, 0 for unlimited");
  app.add_option("--host-bandwidth-fd", flags.host_bandwidth_fd,
                 "descriptor of the memory that they share it by");
  app.add_option("--node", flags.node, "the node's number in its pool")->capture_default_str();
  app.add_option("--socket-buffer", flags.socket_buffer,
                 "kernel socket buffers in bytes, 0 for autotuning");
  app.add_option("--log-level", flags.log_level, "trace, debug, info, warn, error or off")
      ->capture_default_str();
  app.add_option("--session-quantum-us", flags.session_quantum_us,
                 "billing quantum in microseconds; -1 for sessions that do not end")
      ->capture_default_str();
  app.add_option("--session-max-us", flags.session_max_us,
                 "longest session in microseconds, after which the platform ends it by force");
  app.add_option("--idle-break-even-us", flags.idle_break_even_us,
                 "idle microseconds that cost as much as another invocation");
  app.add_flag("--test-hooks", flags.test_hooks,
               "allow the proxy to corrupt stored chunks, for tests");
  app.add_flag("--share-memory", flags.share_memory,
               "keep chunks in memory that other processes of the user can use");
  app.add_option("--with-parent", parent,
                 "number of our parent process: end when it ends or closes our stdin");
  app.add_flag("--guard", guard, "start nodes for the server that stdin is connected to");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }

  InitLogging(guard ? "guard" : fmt::format("node-{}", flags.node));
  if (auto status = SetLogLevel(flags.log_level); !status) return Usage(status.error());
  if (guard) return platform::RunGuard();
  auto options = ToOptions(flags);
  if (!options) return Usage(options.error());

  // A stopped process does not see that its stdin ended: the kernel ends it.
  if (parent != 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)) return 1;

  net::EventLoop loop("node");
  options->on_session_end = [](SessionId session, const wire::ByeTotals&) {
    fmt::print("{{\"end\":\"{:016x}\"}}\n", session.value());
    std::fflush(stdout);
  };
  bool ends_at_pong = false;
  options->session.on_pong = [&ends_at_pong] {
    if (ends_at_pong) _exit(kExitAtPong);
  };
  std::optional<net::SignalWatch> end_at_pong;
  if (flags.test_hooks)
    end_at_pong.emplace(loop, std::initializer_list<int>{SIGUSR1},
                        [&](int) { ends_at_pong = true; });
  node::NodeServer server(loop, std::move(*options));
  if (auto status = server.Start(); !status) {
    fmt::print(stderr, "infinicache-node: {}\n", status.error().message);
    return 1;
  }

  bool stopping = false;
  const auto stop = [&] {
    if (std::exchange(stopping, true)) return;
    server.Stop();
    loop.Spawn(StopWhenIdle(loop));
  };
  const net::SignalWatch signals(loop, {SIGTERM, SIGINT}, [&](int) { stop(); });
  std::optional<Invocations> invocations;
  if (parent != 0) invocations.emplace(loop, server, stop);

  fmt::print("{{\"port\":{},\"instance\":\"{:016x}\",\"pid\":{}}}\n", server.port(),
             server.instance().value(), getpid());
  std::fflush(stdout);
  loop.Run();
  return 0;
}
