// The server's side of the guard: its nodes are the guard's children, so that they outlive a crash
// of the server and are taken over by the one that is started next.
//
//   GuardedProcesses processes(options);
//   auto survivors = processes.TakeOver();      // of a server that has crashed; often none
//   … processes.secret() is the pool's …
//
// The guard is started with the first node, and again with the next one if it has ended; its nodes
// have then ended with it. One that does not answer for kAnswerPatience is killed, as without it no
// process can be reaped or left alone.
//
// Thread-safety: one thread; calls block until the guard has answered, as a rule well below 1 ms.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "platform/local/guard_channel.h"
#include "platform/local/process_host.h"

namespace infinicache::platform {

// A node that has lost its server.
struct Survivor {
  NodeProcess process;
  std::string text;  // as ProcessHost::Describe was told last
};

class GuardedProcesses final : public ProcessHost {
 public:
  static constexpr Duration kAnswerPatience = std::chrono::seconds(5);

  // What nodes were started for: a server with another shape has no use for them.
  using Shape = std::map<std::string, std::string>;

  struct Options {
    std::string program;  // path of infinicache-node
    // Of this user's server: by it the next server finds the guard.
    std::string name;
    // How long nodes wait for the next server; 0: they end with this one.
    Duration survival{0};
    Shape shape;
    std::string secret;  // of a new pool
  };

  explicit GuardedProcesses(Options options);
  ~GuardedProcesses() override;

  // Nodes that a server of the same name and shape has left, in the order of their start. Those of
  // another shape are ended. Call before all else.
  std::vector<Survivor> TakeOver();
  // The survivors' pool's, else the one of the options.
  const std::string& secret() const { return options_.secret; }
  // 0: there is none now.
  pid_t guard_pid() const { return pid_; }

  Result<NodeProcess> Start(const std::vector<std::string>& arguments, int inherited) override;
  void Describe(pid_t pid, const std::string& text) override;
  std::optional<std::string> Reap(pid_t pid) override;
  void BeginStop() override;
  void EndStop() override;

 private:
  Status StartGuard();
  void Watch(pid_t pid);
  // Has the guard's nodes from here on.
  Status Begin();
  Result<GuardMessage> Ask(const boost::json::object& request,
                           std::span<const int> descriptors = {});
  // In which the guard's shape differs; empty: it does not.
  std::string DifferenceTo(const boost::json::value* shape) const;
  std::vector<Survivor> FetchSurvivors();
  // Tells the guard to end with its nodes, and waits until it has.
  void EndGuard();
  void DropGuard();
  void AwaitEndOfGuard(TimePoint deadline);

  Options options_;
  UniqueFd connection_;
  pid_t pid_ = 0;
  UniqueFd pidfd_;
  bool is_child_ = false;  // the guard is to be reaped by us
  bool begun_ = false;     // the guard is ours
  bool stopping_ = false;
};

}  // namespace infinicache::platform
