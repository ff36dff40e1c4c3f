#include "platform/local/guarded_processes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/log.h"

namespace infinicache::platform {
namespace {

TimePoint Now() {
  return SystemClock().Now();
}

boost::json::object ToJson(const GuardedProcesses::Shape& shape) {
  boost::json::object object;
  for (const auto& [name, value] : shape) object[name] = value;
  return object;
}

NodeProcess ProcessOf(GuardMessage& message) {
  auto& descriptors = message.descriptors;
  NodeProcess process{static_cast<pid_t>(message.Number("pid")), std::move(descriptors[0]),
                      std::move(descriptors[1])};
  if (descriptors.size() > 2) process.inherited = std::move(descriptors[2]);
  return process;
}

}  // namespace

GuardedProcesses::GuardedProcesses(Options options) : options_(std::move(options)) {}

// The guard sees the end of the connection and does what the survival time says.
GuardedProcesses::~GuardedProcesses() {
  connection_.Reset();
  if (stopping_) AwaitEndOfGuard(Now() + kAnswerPatience);
}

std::vector<Survivor> GuardedProcesses::TakeOver() {
  auto connection = ConnectToGuard(options_.name);
  if (!connection) return {};  // as a rule: nobody is there
  const PeerProcess peer = PeerOf(connection->get());
  if (!peer.same_user) {
    LOG_WARN("nodes of a server before are not looked for: another user has taken the name {}",
             options_.name);
    return {};
  }
  connection_ = std::move(*connection);
  Watch(peer.pid);
  auto state = Ask({{"op", "take"}});
  if (!state) return {};
  if (state->body.contains("busy")) {  // a server with our name lives: the guard is its own
    connection_.Reset();
    Watch(0);
    return {};
  }
  const std::string difference = DifferenceTo(state->body.if_contains("shape"));
  if (options_.survival == Duration(0) || !difference.empty()) {
    LOG_WARN("the {} nodes of a server that has crashed are ended: {}", state->Number("survivors"),
             difference.empty() ? "node-survival is 0s" : difference);
    EndGuard();
    return {};
  }
  options_.secret = state->Text("secret");
  auto survivors = FetchSurvivors();
  if (const auto begun = Begin(); !begun) {
    LOG_WARN("the nodes of a server that has crashed are lost: {}", begun.error().message);
    return {};
  }
  return survivors;
}

std::string GuardedProcesses::DifferenceTo(const boost::json::value* shape) const {
  const boost::json::object* const theirs = shape != nullptr ? shape->if_object() : nullptr;
  std::vector<std::string> differences;
  for (const auto& [name, value] : options_.shape) {
    const boost::json::value* const other = theirs != nullptr ? theirs->if_contains(name) : nullptr;
    const std::string text =
        other != nullptr && other->is_string() ? std::string(other->get_string()) : "unknown";
    if (text != value) differences.push_back(fmt::format("{} was {}, is {}", name, text, value));
  }
  return fmt::format("{}", fmt::join(differences, "; "));
}

std::vector<Survivor> GuardedProcesses::FetchSurvivors() {
  std::vector<Survivor> survivors;
  for (;;) {
    auto next = Ask({{"op", "next"}});
    if (!next || next->descriptors.size() < 2) return survivors;
    survivors.push_back({ProcessOf(*next), next->Text("text")});
  }
}

Result<NodeProcess> GuardedProcesses::Start(const std::vector<std::string>& arguments,
                                            int inherited) {
  if (!connection_.valid()) {
    if (auto started = StartGuard(); !started) return tl::make_unexpected(started.error());
  }
  boost::json::array list;
  for (const std::string& argument : arguments) list.emplace_back(argument);
  const std::span<const int> descriptors(&inherited, inherited >= 0 ? 1 : 0);
  auto answer = Ask({{"op", "start"}, {"arguments", std::move(list)}}, descriptors);
  if (!answer) return tl::make_unexpected(answer.error());
  if (answer->descriptors.size() != 2) return Fail(ErrorCode::kUnavailable, answer->Text("error"));
  return ProcessOf(*answer);
}

Status GuardedProcesses::StartGuard() {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return tl::make_unexpected(ErrnoError("socketpair", errno));
  connection_.Reset(ends[0]);
  const UniqueFd theirs(ends[1]);
  SpawnRequest request;
  request.arguments = {options_.program, "--guard"};
  request.environment = NodeEnvironment("");
  request.input = theirs.get();
  request.output = STDERR_FILENO;
  const auto pid = SpawnProcess(std::move(request));
  if (!pid) {
    connection_.Reset();
    return tl::make_unexpected(pid.error());
  }
  Watch(*pid);
  is_child_ = true;
  return Begin();
}

Status GuardedProcesses::Begin() {
  using std::chrono::microseconds;
  const std::array<int, 1> log = {STDERR_FILENO};
  begun_ = true;
  const auto answer =
      Ask({{"op", "begin"},
           {"secret", options_.secret},
           {"shape", ToJson(options_.shape)},
           {"survival_us", std::chrono::duration_cast<microseconds>(options_.survival).count()},
           {"name", options_.name}},
          log);
  if (!answer) return tl::make_unexpected(answer.error());
  const boost::json::value* const named = answer->body.if_contains("named");
  if (named == nullptr || !named->is_bool() || !named->get_bool()) {
    LOG_WARN("nodes will not outlive a crash of this server: another process has taken the name {}",
             options_.name);
  }
  return {};
}

Result<GuardMessage> GuardedProcesses::Ask(const boost::json::object& request,
                                           std::span<const int> descriptors) {
  if (!connection_.valid())
    return Fail(ErrorCode::kUnavailable, "the nodes' guard has ended, and the nodes with it");
  // If that fails, the guard may have answered before it closed the connection: that it is busy.
  (void)SendToPeer(connection_.get(), request, descriptors);
  auto answer = ReceiveFromPeer(connection_.get(), kAnswerPatience);
  if (!answer) DropGuard();
  return answer;
}

void GuardedProcesses::Describe(pid_t pid, const std::string& text) {
  (void)Ask({{"op", "describe"}, {"pid", pid}, {"text", text}});
}

std::optional<std::string> GuardedProcesses::Reap(pid_t pid) {
  const auto answer = Ask({{"op", "reap"}, {"pid", pid}});
  if (!answer) return "ended with the nodes' guard";
  if (answer->body.contains("error")) return "ended with an earlier guard";
  if (!answer->body.contains("end")) return std::nullopt;
  return answer->Text("end");
}

void GuardedProcesses::BeginStop() {
  if (!std::exchange(stopping_, true) && connection_.valid()) (void)Ask({{"op", "stop"}});
}

void GuardedProcesses::EndStop() {
  if (connection_.valid()) EndGuard();
}

void GuardedProcesses::EndGuard() {
  (void)SendToPeer(connection_.get(), {{"op", "end"}});
  // The end of the connection is its last act.
  const auto answer = ReceiveFromPeer(connection_.get(), kAnswerPatience);
  if (!answer && answer.error().code == ErrorCode::kDeadlineExceeded) return DropGuard();
  connection_.Reset();
  AwaitEndOfGuard(Now() + kAnswerPatience);
}

void GuardedProcesses::DropGuard() {
  if (!std::exchange(begun_, false)) {  // it may be another server's, and is not to be disturbed
    connection_.Reset();
    return Watch(0);
  }
  LOG_ERROR("the guard of the nodes (pid {}) has ended or does not answer: its nodes end with it",
            pid_);
  connection_.Reset();
  if (pidfd_.valid()) syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
  AwaitEndOfGuard(Now() + kAnswerPatience);
}

void GuardedProcesses::AwaitEndOfGuard(TimePoint deadline) {
  using std::chrono::milliseconds;
  pollfd ended{pidfd_.get(), POLLIN, 0};
  const auto wait = std::chrono::ceil<milliseconds>(std::max(deadline - Now(), Duration(0)));
  if (pidfd_.valid()) poll(&ended, 1, static_cast<int>(wait.count()));
  if (is_child_) waitpid(pid_, nullptr, WNOHANG);
  is_child_ = false;
  Watch(0);
}

// Its number may be given to another process; what is open here stays its own.
void GuardedProcesses::Watch(pid_t pid) {
  pid_ = pid;
  pidfd_.Reset(pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1);
}

}  // namespace infinicache::platform
