// The guard of a server's nodes: a small process that starts them for the server and is their
// parent, so that they outlive a server that crashes, for a bounded time.
//
//   server ── requests (guard_channel.h) ──▶ guard ── starts, kills ──▶ nodes
//      └───────── pipes and links, as if the nodes were its own ─────────▲
//
// The server's connection ends:
//   after `stop`, or with nothing to keep: the guard kills what is left, and ends;
//   otherwise the server has crashed: the guard keeps the nodes, with both ends of their pipes, for
//   the survival time. A server that connects within it and says `begin` has them from then on.
//   When nobody did, it kills them, stopped or not, and ends.
// The kernel kills the nodes when the guard itself ends, so nothing stays for longer.
//
// While a server is connected the guard reaps a process only when asked, so that its number stays
// its own; it leaves SIGTERM, SIGINT and SIGHUP to the server, which is told as well. Without a
// server they end it with the nodes.
//
// Thread-safety: one thread, the process's only one: the kernel takes its end for the parent's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "platform/local/guard_channel.h"

namespace infinicache::platform {

class Guard {
 public:
  // `server`: the connection to the server that started us.
  explicit Guard(UniqueFd server);
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;
  ~Guard();

  // Returns when there is nothing left to guard, and no process left.
  void Run();

 private:
  struct Kept {
    pid_t pid = -1;
    UniqueFd input;
    UniqueFd output;
    UniqueFd inherited;
    std::string text;  // what a successor must know
  };

  void WaitForEvent();
  void OnSignals();
  void OnArrival();
  void OnRequest();
  // Also sends the answer.
  void Answer(GuardMessage request);
  boost::json::object Begin(GuardMessage& request);
  boost::json::object Take();
  void StartNode(GuardMessage& request);
  void SendNext();
  void Send(const boost::json::object& body, std::span<const int> descriptors = {});
  void OnServerGone();
  Kept* Find(pid_t pid);
  void ReapAll();
  void KillAll();
  Duration TimeLeft() const;

  UniqueFd server_;
  UniqueFd listener_;  // where a successor connects; not valid: there can be none
  UniqueFd signals_;
  std::vector<Kept> nodes_;  // in the order of their start
  std::string secret_;
  boost::json::object shape_;
  Duration survival_{0};
  bool begun_ = false;     // the connected server has the nodes
  bool stopping_ = false;  // it must not be outlived
  bool done_ = false;
  std::size_t handed_ = 0;             // to the server that asks for `next`
  std::optional<TimePoint> deadline_;  // since a crash, until another server has begun
};

// Runs a guard whose server is connected to the standard input. Returns the process's exit status.
int RunGuard();

}  // namespace infinicache::platform
