#include "platform/local/guard.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <utility>

#include "base/log.h"
#include "platform/local/process_host.h"

namespace infinicache::platform {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kWaitMax = std::chrono::hours(1);

sigset_t WatchedSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  return signals;
}

// A standard error stream whose reader does not read must not keep us from our work.
bool MayLog() {
  pollfd writable{STDERR_FILENO, POLLOUT, 0};
  return poll(&writable, 1, 0) == 1 && (writable.revents & POLLOUT) != 0;
}

bool HasHungUp(int socket) {
  pollfd event{socket, 0, 0};
  return poll(&event, 1, 0) == 1 && (event.revents & POLLHUP) != 0;
}

TimePoint Now() {
  return SystemClock().Now();
}

}  // namespace

Guard::Guard(UniqueFd server) : server_(std::move(server)) {
  const sigset_t signals = WatchedSignals();
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  signals_.Reset(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

Guard::~Guard() = default;

void Guard::Run() {
  while (!done_) WaitForEvent();
  listener_.Reset();
  KillAll();
  server_.Reset();  // last: whoever sees its end knows that all is over
}

void Guard::WaitForEvent() {
  // The server first: whether it is gone decides what the others mean.
  std::array<pollfd, 3> events = {
      {{server_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}}};
  const auto wait = std::clamp<milliseconds>(std::chrono::ceil<milliseconds>(TimeLeft()),
                                             milliseconds(0), kWaitMax);
  if (poll(events.data(), events.size(), static_cast<int>(wait.count())) < 0) return;
  if (events[0].revents != 0) OnRequest();
  if (events[1].revents != 0) OnSignals();
  if (events[2].revents != 0) OnArrival();
  if (deadline_ && Now() >= *deadline_) {
    done_ = true;
    const std::size_t left = nodes_.size();
    KillAll();
    if (MayLog()) LOG_WARN("no server came for {} nodes in time: they were ended", left);
  }
}

Duration Guard::TimeLeft() const {
  return deadline_ ? *deadline_ - Now() : Duration(kWaitMax);
}

void Guard::OnSignals() {
  signalfd_siginfo info{};
  while (read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    if (static_cast<int>(info.ssi_signo) == SIGCHLD) continue;
    if (begun_ && HasHungUp(server_.get())) OnServerGone();  // before the signal came
    if (!begun_) done_ = true;
  }
  if (server_.valid()) return;
  ReapAll();
  if (nodes_.empty()) done_ = true;
}

void Guard::OnArrival() {
  UniqueFd arrived(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!arrived.valid() || !PeerOf(arrived.get()).same_user) return;
  if (server_.valid()) {
    (void)SendToPeer(arrived.get(), {{"busy", true}});
    return;
  }
  server_ = std::move(arrived);
  handed_ = 0;
}

void Guard::OnRequest() {
  auto request = ReceiveFromPeer(server_.get(), Duration(0));
  if (!request) return OnServerGone();
  Answer(std::move(*request));
}

void Guard::Answer(GuardMessage request) {
  const std::string what = request.Text("op");
  const auto pid = static_cast<pid_t>(request.Number("pid"));
  if (what == "end") {
    done_ = true;
  } else if (what == "take") {
    Send(Take());
  } else if (what == "next") {
    SendNext();
  } else if (what == "begin") {
    Send(Begin(request));
  } else if (what == "stop") {
    stopping_ = true;
    Send({});
  } else if (what == "start" && begun_) {
    StartNode(request);
  } else if (what == "describe") {
    if (Kept* node = Find(pid); node != nullptr) node->text = request.Text("text");
    Send({});
  } else if (what == "reap" && Find(pid) != nullptr) {
    const auto end = ReapChild(pid);
    if (end) std::erase_if(nodes_, [pid](const Kept& node) { return node.pid == pid; });
    Send(end ? boost::json::object{{"end", *end}} : boost::json::object());
  } else {
    Send({{"error", "the guard does not understand '" + what + "'"}});
  }
}

boost::json::object Guard::Begin(GuardMessage& request) {
  begun_ = true;
  stopping_ = false;
  deadline_.reset();
  secret_ = request.Text("secret");
  survival_ = std::chrono::microseconds(request.Number("survival_us"));
  if (const auto* shape = request.body.if_contains("shape"); shape != nullptr && shape->is_object())
    shape_ = shape->get_object();
  // Nodes that are started from here on log where this server does.
  if (!request.descriptors.empty()) dup2(request.descriptors.front().get(), STDERR_FILENO);
  if (!listener_.valid()) {
    if (auto listener = ListenAsGuard(request.Text("name")); listener)
      listener_ = std::move(*listener);
  }
  return {{"named", listener_.valid()}};
}

boost::json::object Guard::Take() {
  ReapAll();
  return {{"secret", secret_}, {"shape", shape_}, {"survivors", nodes_.size()}};
}

void Guard::SendNext() {
  if (handed_ >= nodes_.size()) return Send({});
  const Kept& node = nodes_[handed_++];
  std::vector<int> descriptors = {node.input.get(), node.output.get()};
  if (node.inherited.valid()) descriptors.push_back(node.inherited.get());
  Send({{"pid", node.pid}, {"text", node.text}}, descriptors);
}

void Guard::StartNode(GuardMessage& request) {
  std::vector<std::string> arguments;
  const boost::json::value* list = request.body.if_contains("arguments");
  if (list != nullptr && list->is_array()) {
    for (const boost::json::value& argument : list->get_array()) {
      if (argument.is_string()) arguments.emplace_back(argument.get_string());
    }
  }
  if (arguments.empty()) return Send({{"error", "no program to start"}});
  UniqueFd inherited;
  if (!request.descriptors.empty()) inherited = std::move(request.descriptors.front());
  auto started = SpawnNode(std::move(arguments), secret_, inherited.get());
  if (!started) return Send({{"error", started.error().message}});
  nodes_.push_back({started->pid,
                    std::move(started->input),
                    std::move(started->output),
                    std::move(inherited),
                    {}});
  const Kept& node = nodes_.back();
  const std::array<int, 2> descriptors = {node.input.get(), node.output.get()};
  Send({{"pid", node.pid}}, descriptors);
}

// A server that cannot be answered has closed its end, or does not read: it is gone either way.
void Guard::Send(const boost::json::object& body, std::span<const int> descriptors) {
  if (const auto sent = SendToPeer(server_.get(), body, descriptors); !sent) OnServerGone();
}

void Guard::OnServerGone() {
  server_.Reset();
  const bool had_nodes = std::exchange(begun_, false);
  ReapAll();
  if (nodes_.empty() || stopping_ || !listener_.valid()) {
    done_ = true;
    return;
  }
  if (!had_nodes) return;  // it only looked: the time runs on
  deadline_ = Now() + survival_;
  if (MayLog()) {
    LOG_WARN("the server has ended without a word; its {} nodes wait {} s for the next one",
             nodes_.size(), std::chrono::duration<double>(survival_).count());
  }
}

Guard::Kept* Guard::Find(pid_t pid) {
  const auto found = std::find_if(nodes_.begin(), nodes_.end(),
                                  [pid](const Kept& node) { return node.pid == pid; });
  return found == nodes_.end() ? nullptr : &*found;
}

void Guard::ReapAll() {
  std::erase_if(nodes_, [](const Kept& node) { return ReapChild(node.pid).has_value(); });
}

void Guard::KillAll() {
  for (const Kept& node : nodes_) kill(node.pid, SIGKILL);
  for (const Kept& node : nodes_) waitpid(node.pid, nullptr, 0);
  nodes_.clear();
}

int RunGuard() {
  prctl(PR_SET_NAME, "infinicache-grd");
  std::signal(SIGPIPE, SIG_IGN);
  // Ours alone, not our nodes', so that our end is the connection's.
  Guard guard{UniqueFd(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1))};
  const UniqueFd nothing(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (nothing.valid()) dup2(nothing.get(), STDIN_FILENO);
  guard.Run();
  return 0;
}

}  // namespace infinicache::platform
