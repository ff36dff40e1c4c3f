// Who starts the nodes' processes on this machine and is their parent: the server itself
// (ChildProcesses), or a guard that outlives it (GuardedProcesses).
//
// A process stays known to its host until Reap has told its end: its number is not given to another
// one before, so it may be signalled.
//
// Thread-safety: one thread; the calls may block for as long as a process takes to start.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace infinicache::platform {

struct NodeProcess {
  pid_t pid = -1;
  UniqueFd input;   // write end of its standard input; does not block
  UniqueFd output;  // read end of its standard output; does not block
  // Of a survivor: what it was started with beside its pipes.
  UniqueFd inherited = {};
};

// Where a node finds the descriptor that it was started with.
inline constexpr int kInheritedFd = STDERR_FILENO + 1;

class ProcessHost {
 public:
  virtual ~ProcessHost() = default;
  // `arguments` begins with the program's path; the host adds who the parent is. The pool's secret
  // is in the process's environment, and `inherited`, unless it is -1, its kInheritedFd. Errors:
  // kNotFound, kUnavailable (it cannot be started).
  virtual Result<NodeProcess> Start(const std::vector<std::string>& arguments, int inherited) = 0;
  // Notes what a server that takes the process over must know of it.
  virtual void Describe(pid_t pid, const std::string& text) = 0;
  // If the process has ended, how: "killed by signal 9". Then the host has forgotten it.
  virtual std::optional<std::string> Reap(pid_t pid) = 0;
  // The server stops: from here on the processes end with it, however it ends.
  virtual void BeginStop() = 0;
  // All processes are reaped. Returns when what the host needed for them has ended.
  virtual void EndStop() = 0;
};

// How to start a process that is a node. It has a process group of its own: Ctrl-C in a terminal
// reaches the server, which then ends its nodes in order.
struct SpawnRequest {
  std::vector<std::string> arguments;    // the program's path first
  std::vector<std::string> environment;  // "name=value"
  int input = -1;                        // its standard input and output, which stay the caller's
  int output = -1;
  int inherited = -1;  // its kInheritedFd; -1: none
};
// Returns the process's number. Errors: kNotFound, kUnavailable.
Result<pid_t> SpawnProcess(SpawnRequest request);

// The environment of a node: ours, with the pool's secret.
std::vector<std::string> NodeEnvironment(const std::string& secret);

// Starts a node with new pipes. `arguments` as SpawnRequest; we are its parent.
Result<NodeProcess> SpawnNode(std::vector<std::string> arguments, const std::string& secret,
                              int inherited);

// As ProcessHost::Reap, of a child of this process.
std::optional<std::string> ReapChild(pid_t pid);

// Children of this process, which end with it: their standard input is a pipe from us, and the
// kernel kills them when the thread that spawned them ends, stopped or not. That thread must
// therefore be the process's main thread.
class ChildProcesses final : public ProcessHost {
 public:
  explicit ChildProcesses(std::string secret) : secret_(std::move(secret)) {}
  Result<NodeProcess> Start(const std::vector<std::string>& arguments, int inherited) override;
  void Describe(pid_t /*pid*/, const std::string& /*text*/) override {}
  std::optional<std::string> Reap(pid_t pid) override { return ReapChild(pid); }
  void BeginStop() override {}
  void EndStop() override {}

 private:
  const std::string secret_;
};

}  // namespace infinicache::platform
