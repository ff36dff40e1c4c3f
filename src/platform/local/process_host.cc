#include "platform/local/process_host.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

extern char**
    environ;  // NOLINT(readability-redundant-declaration): POSIX wants it declared by the program

namespace infinicache::platform {
namespace {

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

struct PipeEnds {
  UniqueFd read;
  UniqueFd write;
};

Result<PipeEnds> MakePipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return tl::make_unexpected(ErrnoError("pipe", errno));
  return PipeEnds{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

}  // namespace

std::vector<std::string> NodeEnvironment(const std::string& secret) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("INFINICACHE_NODE_SECRET="))
      variables.emplace_back(*entry);
  }
  variables.push_back("INFINICACHE_NODE_SECRET=" + secret);
  return variables;
}

Result<pid_t> SpawnProcess(SpawnRequest request) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, request.input, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, request.output, STDOUT_FILENO);
  if (request.inherited >= 0)
    posix_spawn_file_actions_adddup2(&actions, request.inherited, kInheritedFd);
  // Sockets of ours are not closed by exec: a node that held our listener would keep its port.
  posix_spawn_file_actions_addclosefrom_np(&actions,
                                           kInheritedFd + (request.inherited >= 0 ? 1 : 0));
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setpgroup(&attributes, 0);
  sigset_t no_signals;
  sigemptyset(&no_signals);
  posix_spawnattr_setsigmask(&attributes, &no_signals);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);

  pid_t pid = -1;
  const std::string& program = request.arguments.front();
  const int error_number =
      posix_spawn(&pid, program.c_str(), &actions, &attributes, Pointers(request.arguments).data(),
                  Pointers(request.environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error_number != 0)
    return tl::make_unexpected(ErrnoError(fmt::format("cannot start {}", program), error_number));
  return pid;
}

Result<NodeProcess> SpawnNode(std::vector<std::string> arguments, const std::string& secret,
                              int inherited) {
  arguments.insert(arguments.begin() + 1, fmt::format("--with-parent={}", getpid()));
  auto input = MakePipe();
  if (!input) return tl::make_unexpected(input.error());
  auto output = MakePipe();
  if (!output) return tl::make_unexpected(output.error());
  fcntl(input->write.get(), F_SETFL, O_NONBLOCK);
  fcntl(output->read.get(), F_SETFL, O_NONBLOCK);
  const auto pid = SpawnProcess({std::move(arguments), NodeEnvironment(secret), input->read.get(),
                                 output->write.get(), inherited});
  if (!pid) return tl::make_unexpected(pid.error());
  return NodeProcess{*pid, std::move(input->write), std::move(output->read)};
}

std::optional<std::string> ReapChild(pid_t pid) {
  siginfo_t info{};
  if (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG) != 0)
    return "ended";  // not a child any more
  if (info.si_pid == 0) return std::nullopt;
  if (info.si_code == CLD_EXITED) return fmt::format("exited with status {}", info.si_status);
  return fmt::format("killed by signal {}", info.si_status);
}

Result<NodeProcess> ChildProcesses::Start(const std::vector<std::string>& arguments,
                                          int inherited) {
  return SpawnNode(arguments, secret_, inherited);
}

}  // namespace infinicache::platform
