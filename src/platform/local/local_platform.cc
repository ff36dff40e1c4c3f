#include "platform/local/local_platform.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
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
#include "net/shared_rate.h"
#include "net/signals.h"
#include "net/timer.h"

extern char**
    environ;  // NOLINT(readability-redundant-declaration): POSIX wants it declared by the program

namespace infinicache::platform {
namespace {

constexpr std::size_t kLineBytesMax = 4096;
constexpr std::size_t kQuotedBytesMax = 200;
constexpr std::int64_t kPortMax = 65535;
constexpr int kHostBandwidthFd = STDERR_FILENO + 1;  // in a node

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

std::uint64_t ParseHex(const boost::json::value* value) {
  std::uint64_t number = 0;
  if (value != nullptr && value->is_string()) {
    const auto& text = value->get_string();
    std::from_chars(text.data(), text.data() + text.size(), number, 16);
  }
  return number;
}

// {"port":40001,"instance":"00ab…","pid":7}; the port is 0 if it does not listen.
Result<Instance> ParseReadyLine(NodeId node, std::string_view line, bool listens) {
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse({line.data(), line.size()}, error);
  const boost::json::object* object = error ? nullptr : value.if_object();
  const boost::json::value* port = object != nullptr ? object->if_contains("port") : nullptr;
  const boost::json::value* id = object != nullptr ? object->if_contains("instance") : nullptr;
  const boost::json::value* pid = object != nullptr ? object->if_contains("pid") : nullptr;
  const std::uint64_t instance = ParseHex(id);
  const bool port_is_good = port != nullptr && port->is_int64() &&
                            (port->get_int64() > 0) == listens && port->get_int64() >= 0 &&
                            port->get_int64() <= kPortMax;
  if (!port_is_good || pid == nullptr || !pid->is_int64() || instance == 0) {
    return Fail(ErrorCode::kProtocol, fmt::format("node {} said '{}' instead of its port",
                                                  node.value(), line.substr(0, kQuotedBytesMax)));
  }
  const auto number = static_cast<std::uint16_t>(port->get_int64());
  return Instance{node,
                  InstanceId(instance),
                  {number == 0 ? "" : "127.0.0.1", number},
                  static_cast<int>(pid->get_int64())};
}

// {"end":"00ab…"}: the session that has ended; 0 for anything else.
SessionId ParseReturnLine(std::string_view line) {
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse({line.data(), line.size()}, error);
  const boost::json::object* object = error ? nullptr : value.if_object();
  return SessionId(object != nullptr ? ParseHex(object->if_contains("end")) : 0);
}

std::string InvocationLine(const Invocation& invocation) {
  const std::string proxy = invocation.proxy.host.empty() ? "" : invocation.proxy.ToString();
  return fmt::format(
      "{{\"session\":\"{:016x}\",\"warm_up\":{},\"proxy\":\"{}\",\"data_links\":{}}}\n",
      invocation.session.value(), invocation.purpose == policy::Purpose::kWarmUp, proxy,
      invocation.data_links);
}

}  // namespace

struct LocalPlatform::Process {
  explicit Process(net::EventLoop& loop)
      : start_timer(loop), session_timer(loop), reclaim_timer(loop) {}
  ~Process() {
    CloseFd(input);
    if (pid > 0) {  // not reaped: end it now
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
  }
  // Invocations may come.
  bool IsIdle() const { return ready && session == SessionId() && !reclaimed && !fault; }

  Instance instance;
  pid_t pid = -1;  // -1 once reaped
  int input = -1;  // write end of the node's standard input
  int output = -1;
  std::string output_text;  // an unfinished line
  TimePoint started;
  bool ready = false;
  bool frozen = false;
  std::optional<Error> fault;  // why we ended it
  std::optional<net::ReadWatch> output_watch;
  std::optional<net::ReadWatch> exit_watch;
  net::Timer start_timer;

  SessionId session;                // 0: idle
  std::optional<Invocation> first;  // what started it, until it is ready
  TimePoint invoked;                // the open session
  TimePoint session_began;
  bool cold = false;
  TimePoint idle_since;
  net::Timer session_timer;

  bool reclaimed = false;
  net::Timer reclaim_timer;  // ends the drain, then the notice
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
  CHECK(options_.nodes_per_host > 0);
  options_.traits.same_host = true;
  options_.traits.node_memory_bytes = options_.node_memory_bytes;
}

LocalPlatform::~LocalPlatform() {
  for (auto& [host, memory] : host_bandwidths_) CloseFd(memory);
  *stopped_ = true;
}

void LocalPlatform::Invoke(NodeId node, const Invocation& invocation) {
  if (Process* idle = IdleInstance(node); idle != nullptr) return Deliver(*idle, invocation);
  if (const auto found = processes_.find(node);
      found != processes_.end() && found->second.size() >= kInstancesMax) {
    return FailLater(
        node, invocation.session,
        {ErrorCode::kUnavailable, fmt::format("node {} has {} instances, more are not started",
                                              node.value(), kInstancesMax)});
  }
  const TimePoint now = net::EventLoop::Now();
  const Duration delay = DrawColdStart();
  if (delay == Duration(0)) return Start(node, invocation, now);
  auto& timer = cold_starts_[invocation.session] = std::make_unique<net::Timer>(control_);
  timer->Start(delay, [this, node, invocation, now] {
    cold_starts_.erase(invocation.session);
    Start(node, invocation, now);
  });
}

// Of several the one that was used last, as providers do.
LocalPlatform::Process* LocalPlatform::IdleInstance(NodeId node) {
  Process* latest = nullptr;
  for (const auto& process : processes_[node]) {
    if (process->IsIdle() && (latest == nullptr || process->idle_since > latest->idle_since))
      latest = process.get();
  }
  return latest;
}

LocalPlatform::Process* LocalPlatform::OldestInstance(NodeId node) {
  for (const auto& process : processes_[node]) {
    if (process->ready && !process->reclaimed) return process.get();
  }
  return nullptr;
}

// REQUIRES: the process is ready.
void LocalPlatform::Deliver(Process& process, const Invocation& invocation) {
  process.session = invocation.session;
  process.session_began = net::EventLoop::Now();
  if (!process.cold) process.invoked = process.session_began;
  reclaims_.InstanceBusy(process.instance.node);
  if (std::exchange(process.frozen, false)) kill(process.pid, SIGCONT);
  const std::string line = InvocationLine(invocation);
  // A pipe takes so short a line whole or not at all. If its reader is at its end, OnExit says so.
  if (write(process.input, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    GiveUp(process, {ErrorCode::kUnavailable, "the instance takes no invocation"});
    return;
  }
  process.session_timer.Start(options_.traits.session_max, [this, &process] {
    GiveUp(process, {ErrorCode::kDeadlineExceeded,
                     fmt::format("the session ran for {} s, the longest that the platform allows",
                                 options_.traits.session_max / std::chrono::seconds(1))});
  });
}

void LocalPlatform::FailLater(NodeId node, SessionId session, const Error& error) {
  control_.Post([stopped = stopped_, observer = observer_, node, session, error] {
    SessionEnd end;
    end.fault = error;
    end.ran = false;
    if (!*stopped) observer->OnSessionEnded(node, session, end);
  });
}

InstanceCounts LocalPlatform::Count() const {
  InstanceCounts counts;
  for (const auto& [node, processes] : processes_) {
    for (const auto& process : processes) {
      if (process->frozen) {
        ++counts.frozen;
      } else if (process->session == SessionId() && process->ready) {
        ++counts.idle;
      } else {
        ++counts.busy;
      }
    }
  }
  return counts;
}

Duration LocalPlatform::DrawColdStart() {
  const Duration range = options_.cold_start_max - options_.cold_start_min;
  return options_.cold_start_min + Duration(static_cast<Duration::rep>(random_.Below(
                                       static_cast<std::uint64_t>(range.count()) + 1)));
}

void LocalPlatform::Start(NodeId node, const Invocation& invocation, TimePoint invoked) {
  auto spawned = Spawn(node);
  if (!spawned) return FailLater(node, invocation.session, spawned.error());
  Process& process = **spawned;
  processes_[node].push_back(std::move(*spawned));
  process.started = net::EventLoop::Now();
  process.session = invocation.session;
  process.first = invocation;
  process.invoked = invoked;
  process.cold = true;
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

std::vector<std::string> LocalPlatform::Arguments(NodeId node) const {
  const Traits& traits = options_.traits;
  const auto microseconds = [](Duration duration) {
    return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  };
  std::vector<std::string> arguments = {
      options_.node_program,
      fmt::format("--with-parent={}", getpid()),
      fmt::format("--node={}", node.value()),
      fmt::format("--memory={}", options_.node_memory_bytes),
      fmt::format("--memory-limit={}", InstanceMemoryLimit(options_.node_memory_bytes)),
      fmt::format("--bandwidth={}", options_.bandwidth_bytes_per_second),
      fmt::format("--socket-buffer={}", options_.socket_buffer_bytes),
      fmt::format("--log-level={}", options_.log_level),
  };
  if (const std::uint64_t rate = options_.host_bandwidth_bytes_per_second; rate > 0) {
    arguments.push_back(fmt::format("--host-bandwidth={}", rate));
    arguments.push_back(fmt::format("--host-bandwidth-fd={}", kHostBandwidthFd));
  }
  if (!traits.inbound) arguments.emplace_back("--listen=off");
  if (options_.test_hooks) arguments.emplace_back("--test-hooks");
  if (!traits.standing) {
    arguments.push_back(
        fmt::format("--session-quantum-us={}", microseconds(traits.billing_quantum)));
    arguments.push_back(fmt::format("--session-max-us={}", microseconds(traits.session_max)));
    arguments.push_back(
        fmt::format("--idle-break-even-us={}", microseconds(options_.idle_break_even)));
  }
  return arguments;
}

Result<int> LocalPlatform::HostBandwidth(NodeId node) {
  if (options_.host_bandwidth_bytes_per_second == 0) return -1;
  const auto [found, added] = host_bandwidths_.try_emplace(HostOf(node), -1);
  if (!added) return found->second;
  const auto memory = net::SharedRate::CreateMemory();
  if (!memory) host_bandwidths_.erase(found);
  if (memory) found->second = *memory;
  return memory;
}

Result<std::unique_ptr<LocalPlatform::Process>> LocalPlatform::Spawn(NodeId node) {
  const auto host_bandwidth = HostBandwidth(node);
  if (!host_bandwidth) return tl::make_unexpected(host_bandwidth.error());
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
  fcntl(input[1], F_SETFL, O_NONBLOCK);

  std::vector<std::string> arguments = Arguments(node);
  std::vector<std::string> environment = NodeEnvironment(options_.secret);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  if (*host_bandwidth >= 0)
    posix_spawn_file_actions_adddup2(&actions, *host_bandwidth, kHostBandwidthFd);
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
  if (process.fault) return;
  process.output_text.append(buffer.data(), static_cast<std::size_t>(bytes));
  for (;;) {
    const std::size_t end = process.output_text.find('\n');
    if (end == std::string::npos) break;
    const std::string line = process.output_text.substr(0, end);
    process.output_text.erase(0, end + 1);
    process.ready ? OnReturn(process, line) : OnReady(process, line);
    if (process.fault) return;
  }
  if (process.output_text.size() > kLineBytesMax) {
    process.ready ? process.output_text.clear() : OnReady(process, process.output_text);
  }
}

void LocalPlatform::OnReady(Process& process, std::string_view line) {
  auto instance = ParseReadyLine(process.instance.node, line, options_.traits.inbound);
  if (!instance) return GiveUp(process, instance.error());
  process.instance = *instance;
  process.ready = true;
  process.start_timer.Cancel();
  const TimePoint now = net::EventLoop::Now();
  reclaims_.InstanceStarted(process.instance.node, now);
  observer_->OnInstanceReady(process.instance);
  Deliver(process, *std::exchange(process.first, std::nullopt));
  ArmReclaims();
}

void LocalPlatform::OnReturn(Process& process, std::string_view line) {
  const SessionId ended = ParseReturnLine(line);
  if (ended == SessionId() || ended != process.session) return;
  if (options_.traits.freezes && !process.reclaimed) {
    kill(process.pid, SIGSTOP);
    process.frozen = true;
  }
  EndSession(process, std::nullopt);
  reclaims_.InstanceIdle(process.instance.node, process.idle_since);
  ArmReclaims();
}

void LocalPlatform::EndSession(Process& process, std::optional<Error> fault) {
  if (process.session == SessionId()) return;
  process.session_timer.Cancel();
  const TimePoint now = net::EventLoop::Now();
  SessionEnd end;
  end.fault = std::move(fault);
  end.reclaimed = end.fault && process.reclaimed;
  end.ran = process.ready;
  end.cold = std::exchange(process.cold, false);
  if (end.ran) end.duration = now - process.session_began;
  if (end.ran && end.cold) end.init = process.session_began - process.invoked;
  process.idle_since = now;
  observer_->OnSessionEnded(process.instance.node, std::exchange(process.session, SessionId()),
                            end);
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
  // A session that returned before the end is one that returned.
  if (process.output_watch && process.ready && !process.fault) OnOutput(process);
  process.pid = -1;
  const NodeId node = process.instance.node;
  const Instance instance = process.instance;
  const bool was_ready = process.ready;
  const std::string reason = process.reclaimed ? "reclaimed by the platform" : DescribeEnd(info);
  const InstanceEnd end{process.reclaimed, process.fault ? process.fault->message : reason};
  EndSession(process,
             process.fault.value_or(
                 Error{ErrorCode::kUnavailable,
                       was_ready ? reason
                                 : fmt::format("node {} {} before it was ready; its log says why",
                                               node.value(), reason)}));
  std::erase_if(processes_[node], [&](const auto& other) { return other.get() == &process; });
  reclaims_.InstanceEnded(node);
  if (const Process* other = OldestInstance(node); other != nullptr) {
    reclaims_.InstanceStarted(node, other->started);
    if (other->session == SessionId()) reclaims_.InstanceIdle(node, other->idle_since);
  }
  ArmReclaims();
  if (was_ready && options_.traits.tells_ends) observer_->OnInstanceEnded(instance, end);
}

Status LocalPlatform::Reclaim(NodeId node) {
  Process* process = OldestInstance(node);
  const bool under_way = std::any_of(processes_[node].begin(), processes_[node].end(),
                                     [](const auto& other) { return other->reclaimed; });
  if (process == nullptr && under_way) return {};
  if (process == nullptr)
    return Fail(ErrorCode::kNotFound, fmt::format("node {} has no instance", node.value()));
  BeginReclaim(*process);
  return {};
}

// OnExit reports it.
void LocalPlatform::BeginReclaim(Process& process) {
  if (std::exchange(process.reclaimed, true)) return;
  if (options_.reclaim_drain == Duration(0)) return Terminate(process);
  process.reclaim_timer.Start(options_.reclaim_drain, [this, &process] { Terminate(process); });
}

void LocalPlatform::Terminate(Process& process) {
  if (options_.reclaim_grace == Duration(0)) {
    kill(process.pid, SIGKILL);
    return;
  }
  kill(process.pid, SIGTERM);
  kill(process.pid, SIGCONT);  // a stopped process does not see the first signal
  process.frozen = false;
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
    for (const auto& [other, processes] : processes_) {
      if (HostOf(other) != HostOf(node)) continue;
      if (Process* process = OldestInstance(other); process != nullptr) BeginReclaim(*process);
    }
  }
  ArmReclaims();
}

void LocalPlatform::Stop(Duration grace) {
  *stopped_ = true;
  reclaim_timer_.Cancel();
  cold_starts_.clear();
  std::vector<Process*> all;
  for (const auto& [node, processes] : processes_) {
    for (const auto& process : processes) all.push_back(process.get());
  }
  for (Process* process : all) {
    process->output_watch.reset();
    process->exit_watch.reset();
    process->start_timer.Cancel();
    process->session_timer.Cancel();
    process->reclaim_timer.Cancel();
    kill(process->pid, SIGTERM);
    kill(process->pid, SIGCONT);  // a stopped process does not see the first signal
  }
  const TimePoint deadline = net::EventLoop::Now() + grace;
  for (Process* process : all) {
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
