// infinicache-node: one cache node. Started by a platform, which talks to it through the
// environment (secret), the command line, and the standard streams: one line of JSON on stdout says
// that the node is ready; the end of stdin tells it to end, so that a node never outlives its
// server.
#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/log.h"
#include "net/event_loop.h"
#include "net/signals.h"
#include "node/node_server.h"

namespace {

constexpr int kExitUsage = 2;

struct Flags {
  std::string listen = "127.0.0.1:0";
  std::string memory = "512MiB";
  std::string bandwidth = "0";
  std::string log_level = "info";
  std::uint32_t node = 0;
  int socket_buffer = 0;
  bool test_hooks = false;
};

int Usage(const infinicache::Error& error) {
  fmt::print(stderr, "infinicache-node: {}\n", error.message);
  return kExitUsage;
}

infinicache::Result<infinicache::node::NodeOptions> ToOptions(const Flags& flags) {
  using namespace infinicache;
  node::NodeOptions options;
  const auto listen = net::ParseHostPort(flags.listen);
  if (!listen) return tl::make_unexpected(listen.error());
  const auto memory = ParseByteSize(flags.memory);
  if (!memory) return tl::make_unexpected(memory.error());
  const auto bandwidth = ParseByteSize(flags.bandwidth);
  if (!bandwidth) return tl::make_unexpected(bandwidth.error());
  if (*memory < 4 * kMiB)
    return Fail(ErrorCode::kInvalidArgument, "--memory must be at least 4MiB");
  const char* secret = std::getenv("INFINICACHE_NODE_SECRET");
  if (secret == nullptr || *secret == '\0') {
    return Fail(ErrorCode::kInvalidArgument,
                "INFINICACHE_NODE_SECRET is not set: a node needs its pool's secret");
  }
  options.listen = *listen;
  options.memory_bytes = *memory;
  options.node = NodeId(flags.node);
  options.secret = secret;
  options.socket = {flags.socket_buffer, *bandwidth};
  options.test_hooks = flags.test_hooks;
  unsetenv("INFINICACHE_NODE_SECRET");
  return options;
}

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
  CLI::App app(
      "One cache node of an InfiniCache pool: keeps chunks in its memory and serves them to the "
      "proxy.");
  app.set_version_flag("--version", INFINICACHE_VERSION);
  app.add_option("--listen", flags.listen, "address for links; port 0 takes a free one")
      ->capture_default_str();
  app.add_option("--memory", flags.memory, "memory for chunks")->capture_default_str();
  app.add_option("--bandwidth", flags.bandwidth, "bytes per second and link, 0 for unlimited")
      ->capture_default_str();
  app.add_option("--node", flags.node, "the node's number in its pool")->capture_default_str();
  app.add_option("--socket-buffer", flags.socket_buffer,
                 "kernel socket buffers in bytes, 0 for autotuning");
  app.add_option("--log-level", flags.log_level, "trace, debug, info, warn, error or off")
      ->capture_default_str();
  app.add_flag("--test-hooks", flags.test_hooks,
               "allow the proxy to corrupt stored chunks, for tests");
  app.add_option("--with-parent", parent,
                 "number of our parent process: end when it ends or closes our stdin");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }

  InitLogging(fmt::format("node-{}", flags.node));
  if (auto status = SetLogLevel(flags.log_level); !status) return Usage(status.error());
  auto options = ToOptions(flags);
  if (!options) return Usage(options.error());

  // A stopped process does not see that its stdin ended: the kernel ends it.
  if (parent != 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)) return 1;

  net::EventLoop loop("node");
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
  std::optional<net::ReadWatch> standard_input;
  if (parent != 0) {
    standard_input.emplace(loop, dup(STDIN_FILENO), [&] {
      stop();
      standard_input.reset();
    });
  }

  fmt::print("{{\"port\":{},\"instance\":\"{:016x}\",\"pid\":{}}}\n", server.address().port,
             server.instance().value(), getpid());
  std::fflush(stdout);
  loop.Run();
  return 0;
}
