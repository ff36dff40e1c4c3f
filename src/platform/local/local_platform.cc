#include "platform/local/local_platform.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "net/signals.h"
#include "net/timer.h"

extern char**
    environ;  // NOLINT(readability-redundant-declaration): POSIX wants it declared by the program

namespace infinicache::platform {
namespace {

constexpr std::size_t kReadyLineBytesMax = 4096;
constexpr std::size_t kQuotedBytesMax = 200;
constexpr std::int64_t kPortMax = 65535;

std::string DescribeEnd(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return fmt::format("exited with status {}", info.si_status);
  return fmt::format("killed by signal {}", info.si_status);
}

void CloseFd(int& fd) {
  if (fd >= 0) close(std::exchange(fd, -1));
}

// The environment of a node: ours, with the pool's secret.
std::vector<std::string> NodeEnvironment(const std::string& secret) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("INFINICACHE_NODE_SECRET="))
      variables.emplace_back(*entry);
  }
  variables.push_back("INFINICACHE_NODE_SECRET=" + secret);
  return variables;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// {"port":40001,"instance":"00ab…","pid":7}
Result<Instance> ParseReadyLine(NodeId node, std::string_view line) {
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse({line.data(), line.size()}, error);
  const boost::json::object* object = error ? nullptr : value.if_object();
  const boost::json::value* port = object != nullptr ? object->if_contains("port") : nullptr;
  const boost::json::value* id = object != nullptr ? object->if_contains("instance") : nullptr;
  const boost::json::value* pid = object != nullptr ? object->if_contains("pid") : nullptr;
  std::uint64_t instance = 0;
  if (id != nullptr && id->is_string()) {
    const auto& text = id->get_string();
    std::from_chars(text.data(), text.data() + text.size(), instance, 16);
  }
  const bool port_is_good =
      port != nullptr && port->is_int64() && port->get_int64() > 0 && port->get_int64() <= kPortMax;
  if (!port_is_good || pid == nullptr || !pid->is_int64() || instance == 0) {
    return Fail(ErrorCode::kProtocol, fmt::format("node {} said '{}' instead of its port",
                                                  node.value(), line.substr(0, kQuotedBytesMax)));
  }
  return Instance{node,
                  InstanceId(instance),
                  {"127.0.0.1", static_cast<std::uint16_t>(port->get_int64())},
                  static_cast<int>(pid->get_int64())};
}

}  // namespace

struct LocalPlatform::Process {
  explicit Process(net::EventLoop& loop) : start_timer(loop), reclaim_timer(loop) {}
  ~Process() {
    CloseFd(input);
    if (pid > 0) {  // not reaped: end it now
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
  }

  Instance instance;
  pid_t pid = -1;  // -1 once reaped
  int input = -1;  // write end of the node's standard input
  int output = -1;
  std::string line;
  bool ready = false;
  std::optional<Error> fault;  // why we ended it before it was ready
  std::optional<net::ReadWatch> output_watch;
  std::optional<net::ReadWatch> exit_watch;
  net::Timer start_timer;
  bool reclaimed = false;
  net::Timer reclaim_timer;  // ends the notice
};

Result<std::string> FindNodeProgram() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    const auto beside = self.parent_path() / "infinicache-node";
    if (access(beside.c_str(), X_OK) == 0) return beside.string();
  }
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
    std::string candidate = fmt::format("{}/infinicache-node", folder);
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return Fail(ErrorCode::kNotFound,
              "infinicache-node is neither beside infinicache nor on PATH; install both programs");
}

LocalPlatform::LocalPlatform(net::EventLoop& control, LocalOptions options)
    : control_(control),
      options_(std::move(options)),
      random_(options_.seed),
      reclaims_(options_.reclaim, random_(), net::EventLoop::Now()),
      reclaim_timer_(control) {
  CHECK(options_.cold_start_min <= options_.cold_start_max);
  traits_.inbound = true;
  traits_.same_host = true;
  traits_.node_memory_bytes = options_.node_memory_bytes;
}

LocalPlatform::~LocalPlatform() {
  *stopped_ = true;
}

void LocalPlatform::Invoke(NodeId node) {
  CHECK(!processes_.contains(node) && !cold_starts_.contains(node), "node {} has an instance",
        node.value());
  const Duration delay = DrawColdStart();
  if (delay == Duration(0)) return Start(node);
  auto& timer = cold_starts_[node] = std::make_unique<net::Timer>(control_);
  timer->Start(delay, [this, node] {
    cold_starts_.erase(node);
    Start(node);
  });
}

Duration LocalPlatform::DrawColdStart() {
  const Duration range = options_.cold_start_max - options_.cold_start_min;
  return options_.cold_start_min + Duration(static_cast<Duration::rep>(random_.Below(
                                       static_cast<std::uint64_t>(range.count()) + 1)));
}

void LocalPlatform::Start(NodeId node) {
  auto spawned = Spawn(node);
  if (!spawned) {
    control_.Post([stopped = stopped_, observer = observer_, node, error = spawned.error()] {
      if (!*stopped) observer->OnInvokeFailed(node, error);
    });
    return;
  }
  Process& process = **spawned;
  processes_[node] = std::move(*spawned);
  process.output_watch.emplace(control_, process.output, [this, &process] { OnOutput(process); });
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0));
  CHECK(pidfd >= 0, "pidfd_open: errno {}", errno);
  process.exit_watch.emplace(control_, pidfd, [this, &process] { OnExit(process); });
  process.start_timer.Start(options_.start_timeout, [this, &process] {
    GiveUp(process,
           {ErrorCode::kDeadlineExceeded,
            fmt::format("node {} did not tell its port within {} ms", process.instance.node.value(),
                        options_.start_timeout / std::chrono::milliseconds(1))});
  });
}

Result<std::unique_ptr<LocalPlatform::Process>> LocalPlatform::Spawn(NodeId node) {
  std::array<int, 2> input{};
  std::array<int, 2> output{};
  if (pipe2(input.data(), O_CLOEXEC) != 0) return tl::make_unexpected(ErrnoError("pipe", errno));
  if (pipe2(output.data(), O_CLOEXEC) != 0) {
    const int error_number = errno;
    CloseFd(input[0]);
    CloseFd(input[1]);
    return tl::make_unexpected(ErrnoError("pipe", error_number));
  }
  fcntl(output[0], F_SETFL, O_NONBLOCK);

  std::vector<std::string> arguments = {
      options_.node_program,
      fmt::format("--with-parent={}", getpid()),
      fmt::format("--node={}", node.value()),
      fmt::format("--memory={}", options_.node_memory_bytes),
      fmt::format("--bandwidth={}", options_.bandwidth_bytes_per_second),
      fmt::format("--socket-buffer={}", options_.socket_buffer_bytes),
      fmt::format("--log-level={}", options_.log_level),
  };
  if (options_.test_hooks) arguments.emplace_back("--test-hooks");
  std::vector<std::string> environment = NodeEnvironment(options_.secret);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // A process group of its own: Ctrl-C in a terminal reaches the server, which then ends its nodes
  // in order.
  posix_spawnattr_setpgroup(&attributes, 0);
  sigset_t no_signals;
  sigemptyset(&no_signals);
  posix_spawnattr_setsigmask(&attributes, &no_signals);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);

  auto process = std::make_unique<Process>(control_);
  pid_t pid = -1;
  const int error_number = posix_spawn(&pid, options_.node_program.c_str(), &actions, &attributes,
                                       Pointers(arguments).data(), Pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  CloseFd(input[0]);
  CloseFd(output[1]);
  process->input = input[1];
  if (error_number != 0) {
    CloseFd(output[0]);
    return tl::make_unexpected(
        ErrnoError(fmt::format("cannot start {}", options_.node_program), error_number));
  }
  process->pid = pid;
  process->output = output[0];
  process->instance.node = node;
  process->instance.pid = pid;
  return process;
}

void LocalPlatform::OnOutput(Process& process) {
  std::array<char, 512> buffer;
  const ssize_t bytes = read(process.output, buffer.data(), buffer.size());
  if (bytes < 0 && errno == EAGAIN) return;
  if (bytes <= 0) {
    process.output_watch.reset();
    return;
  }
  if (process.ready || process.fault) return;
  process.line.append(buffer.data(), static_cast<std::size_t>(bytes));
  const std::size_t end = process.line.find('\n');
  if (end == std::string::npos && process.line.size() <= kReadyLineBytesMax) return;
  auto instance =
      ParseReadyLine(process.instance.node, std::string_view(process.line).substr(0, end));
  if (!instance) {
    GiveUp(process, instance.error());
    return;
  }
  process.instance = *instance;
  process.ready = true;
  process.start_timer.Cancel();
  reclaims_.InstanceStarted(process.instance.node, net::EventLoop::Now());
  ArmReclaims();
  observer_->OnInstanceReady(process.instance);
}

// OnExit reports it.
void LocalPlatform::GiveUp(Process& process, const Error& reason) {
  process.fault = reason;
  kill(process.pid, SIGKILL);
}

void LocalPlatform::OnExit(Process& process) {
  siginfo_t info{};
  if (waitid(P_PID, static_cast<id_t>(process.pid), &info, WEXITED | WNOHANG) != 0 ||
      info.si_pid == 0)
    return;
  process.pid = -1;
  const NodeId node = process.instance.node;
  const Instance instance = process.instance;
  const bool was_ready = process.ready;
  const bool reclaimed = process.reclaimed;
  const std::string reason = DescribeEnd(info);
  const Error failure = process.fault.value_or(
      Error{ErrorCode::kUnavailable,
            fmt::format("node {} {} before it was ready; its log says why", node.value(), reason)});
  processes_.erase(node);
  if (was_ready) {
    reclaims_.InstanceEnded(node);
    ArmReclaims();
    observer_->OnInstanceEnded(instance,
                               {reclaimed, reclaimed ? "reclaimed by the platform" : reason});
  } else {
    observer_->OnInvokeFailed(node, failure);
  }
}

Status LocalPlatform::Reclaim(NodeId node) {
  const auto found = processes_.find(node);
  if (found == processes_.end() || !found->second->ready)
    return Fail(ErrorCode::kNotFound, fmt::format("node {} has no instance", node.value()));
  BeginReclaim(*found->second);
  return {};
}

// OnExit reports it.
void LocalPlatform::BeginReclaim(Process& process) {
  if (std::exchange(process.reclaimed, true)) return;
  if (options_.reclaim_grace == Duration(0)) {
    kill(process.pid, SIGKILL);
    return;
  }
  kill(process.pid, SIGTERM);
  kill(process.pid, SIGCONT);  // a stopped process does not see the first signal
  process.reclaim_timer.Start(options_.reclaim_grace, [&process] { kill(process.pid, SIGKILL); });
}

void LocalPlatform::ArmReclaims() {
  const TimePoint next = reclaims_.Next();
  if (next == TimePoint::max()) {
    reclaim_timer_.Cancel();
    return;
  }
  reclaim_timer_.Start(std::max(next - net::EventLoop::Now(), Duration(0)),
                       [this] { ReclaimDue(); });
}

void LocalPlatform::ReclaimDue() {
  for (const NodeId node : reclaims_.Due(net::EventLoop::Now())) {
    if (const auto found = processes_.find(node); found != processes_.end())
      BeginReclaim(*found->second);
  }
  ArmReclaims();
}

void LocalPlatform::Stop(Duration grace) {
  *stopped_ = true;
  reclaim_timer_.Cancel();
  cold_starts_.clear();
  for (auto& [node, process] : processes_) {
    process->output_watch.reset();
    process->exit_watch.reset();
    process->start_timer.Cancel();
    process->reclaim_timer.Cancel();
    kill(process->pid, SIGTERM);
    kill(process->pid, SIGCONT);  // a stopped process does not see the first signal
  }
  const TimePoint deadline = net::EventLoop::Now() + grace;
  for (auto& [node, process] : processes_) {
    pid_t reaped = 0;
    while ((reaped = waitpid(process->pid, nullptr, WNOHANG)) == 0 &&
           net::EventLoop::Now() < deadline) {
      poll(nullptr, 0, 5);
    }
    if (reaped == 0) {
      kill(process->pid, SIGKILL);
      waitpid(process->pid, nullptr, 0);
    }
    process->pid = -1;
  }
  processes_.clear();
}

}  // namespace infinicache::platform
