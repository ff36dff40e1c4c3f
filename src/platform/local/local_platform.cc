#include "platform/local/local_platform.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
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
#include "platform/local/node_lines.h"

namespace infinicache::platform {
namespace {

constexpr std::size_t kLineBytesMax = 4096;
// From SIGKILL to the end: the kernel frees the process's memory.
constexpr auto kReapPatience = std::chrono::seconds(5);

policy::ReclaimSchedule::Taken ToTaken(const Instance& instance) {
  return {instance.node, instance.id};
}

void KillAndReap(ProcessHost& host, pid_t pid) {
  constexpr int kPollMillis = 1;
  kill(pid, SIGKILL);
  const TimePoint deadline = net::EventLoop::Now() + kReapPatience;
  while (!host.Reap(pid) && net::EventLoop::Now() < deadline) poll(nullptr, 0, kPollMillis);
}

}  // namespace

struct LocalPlatform::Process {
  Process(net::EventLoop& loop, ProcessHost& its_host)
      : host(its_host), start_timer(loop), session_timer(loop), reclaim_timer(loop) {}
  ~Process() {
    if (pid > 0) KillAndReap(host, pid);
  }
  // Invocations may come.
  bool IsIdle() const { return ready && session == SessionId() && !reclaimed && !fault; }

  ProcessHost& host;
  Instance instance;
  pid_t pid = -1;  // -1 once reaped
  UniqueFd input;  // write end of the node's standard input
  int output = -1;
  std::string output_text;  // an unfinished line
  std::string ready_line;
  bool is_primary = false;
  bool described_as_primary = false;
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

LocalPlatform::LocalPlatform(net::EventLoop& control, LocalOptions options,
                             std::unique_ptr<ProcessHost> host)
    : control_(control),
      options_(std::move(options)),
      host_(host != nullptr ? std::move(host) : std::make_unique<ChildProcesses>(options_.secret)),
      random_(options_.seed),
      reclaims_(options_.reclaim, random_(), net::EventLoop::Now()),
      reclaim_timer_(control) {
  CHECK(options_.cold_start_min <= options_.cold_start_max);
  CHECK(options_.nodes_per_host > 0);
  options_.traits.same_host = true;
  options_.traits.node_memory_bytes = options_.node_memory_bytes;
}

LocalPlatform::~LocalPlatform() {
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
  // By a number of their own: two may be of one session, when an invocation is repeated.
  const std::uint64_t number = ++last_cold_start_;
  auto& timer = cold_starts_[number] = std::make_unique<net::Timer>(control_);
  timer->Start(delay, [this, number, node, invocation, now] {
    cold_starts_.erase(number);
    Start(node, invocation, now);
  });
}

LocalPlatform::Process* LocalPlatform::IdleInstance(NodeId node) {
  std::vector<Process*> idle;
  for (const auto& process : processes_[node])
    if (process->IsIdle()) idle.push_back(process.get());
  if (idle.empty()) return nullptr;
  const auto earlier = [](const Process* a, const Process* b) {
    return a->idle_since < b->idle_since;
  };
  switch (options_.idle_choice) {
    case IdleChoice::kEarliest:
      return *std::min_element(idle.begin(), idle.end(), earlier);
    case IdleChoice::kRandom:
      return idle[random_.Below(idle.size())];
    case IdleChoice::kLatest:
      break;
  }
  return *std::max_element(idle.begin(), idle.end(), earlier);
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
  reclaims_.InstanceBusy(ToTaken(process.instance));
  if (std::exchange(process.frozen, false)) kill(process.pid, SIGCONT);
  const std::string line = InvocationLine(invocation);
  // A pipe takes so short a line whole or not at all. If its reader is at its end, OnExit says so.
  if (write(process.input.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    GiveUp(process, {ErrorCode::kUnavailable, "the instance takes no invocation"});
    return;
  }
  process.session_timer.Start(options_.traits.session_max, [this, &process] {
    // Who has returned may have said so while we did not run.
    const SessionId session = process.session;
    if (process.output_watch) OnOutput(process);
    if (process.session != session || process.fault) return;
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
  Duration lived = lived_;
  const TimePoint now = net::EventLoop::Now();
  for (const auto& [node, processes] : processes_) {
    for (const auto& process : processes) {
      lived += now - process->started;
      if (process->frozen) {
        ++counts.frozen;
      } else if (process->session == SessionId() && process->ready) {
        ++counts.idle;
      } else {
        ++counts.busy;
      }
    }
  }
  counts.lived = lived;
  return counts;
}

Duration LocalPlatform::DrawColdStart() {
  const Duration range = options_.cold_start_max - options_.cold_start_min;
  return options_.cold_start_min + Duration(static_cast<Duration::rep>(random_.Below(
                                       static_cast<std::uint64_t>(range.count()) + 1)));
}

void LocalPlatform::Start(NodeId node, const Invocation& invocation, TimePoint invoked) {
  const auto host_bandwidth = HostBandwidth(node);
  if (!host_bandwidth) return FailLater(node, invocation.session, host_bandwidth.error());
  auto started = host_->Start(Arguments(node), *host_bandwidth);
  if (!started) return FailLater(node, invocation.session, started.error());
  Process& process = Add(node, std::move(*started));
  process.session = invocation.session;
  process.first = invocation;
  process.invoked = invoked;
  process.cold = true;
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
      fmt::format("--node={}", node.value()),
      fmt::format("--memory={}", options_.node_memory_bytes),
      fmt::format("--memory-limit={}", InstanceMemoryLimit(options_.node_memory_bytes)),
      fmt::format("--bandwidth={}", options_.bandwidth_bytes_per_second),
      fmt::format("--socket-buffer={}", options_.socket_buffer_bytes),
      fmt::format("--log-level={}", options_.log_level),
  };
  if (const std::uint64_t rate = options_.host_bandwidth_bytes_per_second; rate > 0) {
    arguments.push_back(fmt::format("--host-bandwidth={}", rate));
    arguments.push_back(fmt::format("--host-bandwidth-fd={}", kInheritedFd));
  }
  if (!traits.inbound) arguments.emplace_back("--listen=off");
  if (options_.test_hooks) arguments.emplace_back("--test-hooks");
  if (options_.share_memory && traits.standing && options_.bandwidth_bytes_per_second == 0 &&
      options_.host_bandwidth_bytes_per_second == 0)
    arguments.emplace_back("--share-memory");
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
  UniqueFd& memory = host_bandwidths_[HostOf(node)];
  if (memory.valid()) return memory.get();
  const auto made = net::SharedRate::CreateMemory();
  if (made) memory.Reset(*made);
  return made;
}

LocalPlatform::Process& LocalPlatform::Add(NodeId node, NodeProcess started) {
  Process& process = *processes_[node].emplace_back(std::make_unique<Process>(control_, *host_));
  process.pid = started.pid;
  process.input = std::move(started.input);
  process.output = started.output.Release();
  process.instance.node = node;
  process.instance.pid = started.pid;
  process.started = net::EventLoop::Now();
  process.output_watch.emplace(control_, process.output, [this, &process] { OnOutput(process); });
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0));
  CHECK(pidfd >= 0, "pidfd_open: errno {}", errno);
  process.exit_watch.emplace(control_, pidfd, [this, &process] { OnExit(process); });
  return process;
}

std::vector<Instance> LocalPlatform::Adopt(std::vector<Survivor> survivors) {
  std::vector<Instance> adopted;
  for (const bool primaries : {true, false}) {
    for (auto survivor = survivors.rbegin(); survivor != survivors.rend(); ++survivor) {
      const auto description = ParseDescription(survivor->text, options_.traits.inbound);
      if ((description && description->is_primary) != primaries) continue;
      if (!description || !processes_[description->instance.node].empty()) {
        LOG_INFO(
            "ended process {} of the server before: {}", survivor->process.pid,
            description ? "another instance of its node goes on" : description.error().message);
        KillAndReap(*host_, survivor->process.pid);
        continue;
      }
      const Instance& instance = description->instance;
      // What nodes of a host share goes on with those that are started from here on.
      if (UniqueFd& memory = host_bandwidths_[HostOf(instance.node)]; !memory.valid())
        memory = std::move(survivor->process.inherited);
      Adopt(instance, description->ready_line, std::move(survivor->process));
      adopted.push_back(instance);
    }
  }
  ArmReclaims();
  return adopted;
}

bool LocalPlatform::Has(const Instance& instance) const {
  const auto found = processes_.find(instance.node);
  return found != processes_.end() &&
         std::any_of(found->second.begin(), found->second.end(),
                     [&](const auto& process) { return process->instance.id == instance.id; });
}

void LocalPlatform::Abandon(const Instance& instance) {
  for (const auto& process : processes_[instance.node]) {
    if (process->instance.id == instance.id)
      GiveUp(*process, {ErrorCode::kDeadlineExceeded, "it does not answer the new server"});
  }
}

void LocalPlatform::NotePrimary(NodeId node, InstanceId instance) {
  for (const auto& process : processes_[node])
    process->is_primary = process->instance.id == instance;
  DescribeRoles(node);
}

// Only where there is a choice: it takes a message to the guard and back.
void LocalPlatform::DescribeRoles(NodeId node) {
  const Processes& processes = processes_[node];
  if (processes.size() < 2) return;
  for (const auto& process : processes) {
    if (!process->ready || process->is_primary == process->described_as_primary) continue;
    process->described_as_primary = process->is_primary;
    host_->Describe(process->pid, DescribeInstance(node, process->ready_line, process->is_primary));
  }
}

// Its session, if it is in one, ends with the next invocation, or by itself.
void LocalPlatform::Adopt(const Instance& instance, const std::string& ready_line,
                          NodeProcess survivor) {
  Process& process = Add(instance.node, std::move(survivor));
  process.instance = instance;
  process.ready_line = ready_line;
  process.ready = true;
  process.idle_since = process.started;
  if (options_.traits.freezes) {
    kill(process.pid, SIGSTOP);
    process.frozen = true;
  }
  reclaims_.InstanceStarted(ToTaken(instance), process.started);
  reclaims_.InstanceIdle(ToTaken(instance), process.idle_since);
  observer_->OnInstanceReady(process.instance);
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
  host_->Describe(process.pid, DescribeInstance(process.instance.node, line, false));
  process.ready_line = line;
  DescribeRoles(process.instance.node);
  const TimePoint now = net::EventLoop::Now();
  reclaims_.InstanceStarted(ToTaken(process.instance), now);
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
  reclaims_.InstanceIdle(ToTaken(process.instance), process.idle_since);
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
  end.instance = process.instance.id;
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
  const auto how = host_->Reap(process.pid);
  if (!how) return;
  // A session that returned before the end is one that returned.
  if (process.output_watch && process.ready && !process.fault) OnOutput(process);
  process.pid = -1;
  const NodeId node = process.instance.node;
  const Instance instance = process.instance;
  const bool was_ready = process.ready;
  const std::string reason = process.reclaimed ? "reclaimed by the platform" : *how;
  const InstanceEnd end{process.reclaimed, process.fault ? process.fault->message : reason};
  EndSession(process,
             process.fault.value_or(
                 Error{ErrorCode::kUnavailable,
                       was_ready ? reason
                                 : fmt::format("node {} {} before it was ready; its log says why",
                                               node.value(), reason)}));
  lived_ += net::EventLoop::Now() - process.started;
  std::erase_if(processes_[node], [&](const auto& other) { return other.get() == &process; });
  reclaims_.InstanceEnded(ToTaken(instance));
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
  for (const auto& due : reclaims_.Due(net::EventLoop::Now())) {
    for (const auto& process : processes_[due.node])
      if (process->instance.id == due.instance) BeginReclaim(*process);
    for (const auto& [other, processes] : processes_) {
      if (other == due.node || HostOf(other) != HostOf(due.node)) continue;
      if (Process* process = OldestInstance(other); process != nullptr) BeginReclaim(*process);
    }
  }
  ArmReclaims();
}

void LocalPlatform::Stop(Duration grace) {
  *stopped_ = true;
  host_->BeginStop();
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
    bool reaped = false;
    while (!(reaped = host_->Reap(process->pid).has_value()) && net::EventLoop::Now() < deadline)
      poll(nullptr, 0, 5);
    if (!reaped) KillAndReap(*host_, process->pid);
    process->pid = -1;
  }
  processes_.clear();
  host_->EndStop();
}

}  // namespace infinicache::platform
