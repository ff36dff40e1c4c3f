// Instances as processes of this machine: the embedded default and the test bed.
//
// Each Invoke spawns one infinicache-node, which listens on a loopback port of its choice and says
// so on its standard output. Its end is seen through a pidfd, whatever ended it. A node ends with
// its server: its standard input is a pipe from us, and the kernel kills it when the thread that
// spawned it ends, stopped or not. That thread is the control loop's, which must therefore be the
// process's main thread.
//
// What a provider does to its functions is modelled on top: an invocation takes as long as a cold
// start, and instances are reclaimed by a schedule (policy/reclaim_schedule.h), with or without
// notice.
//
// Thread-safety: as platform::Platform.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/random.h"
#include "net/event_loop.h"
#include "net/timer.h"
#include "platform/platform.h"
#include "policy/reclaim_schedule.h"

namespace infinicache::platform {

struct LocalOptions {
  std::string node_program;  // path of infinicache-node
  std::uint64_t node_memory_bytes = 512 * kMiB;
  std::uint64_t bandwidth_bytes_per_second = 0;  // of each link; 0 is unlimited
  int socket_buffer_bytes = 0;
  std::string secret;
  std::string log_level = "info";
  bool test_hooks = false;
  Duration start_timeout = std::chrono::seconds(20);
  // An invocation waits for so long before the process starts: drawn uniformly between the two.
  Duration cold_start_min{0};
  Duration cold_start_max{0};
  policy::ReclaimModel reclaim;
  // 0: reclaimed instances are killed. Else they are told (SIGTERM) and killed after so long.
  Duration reclaim_grace{0};
  std::uint64_t seed = 1;
};

class LocalPlatform final : public Platform {
 public:
  LocalPlatform(net::EventLoop& control, LocalOptions options);
  ~LocalPlatform() override;

  const Traits& traits() const override { return traits_; }
  void set_observer(Observer* observer) override { observer_ = observer; }
  void Invoke(NodeId node) override;
  Status Reclaim(NodeId node) override;
  void Stop(Duration grace) override;

 private:
  struct Process;

  void Start(NodeId node);
  Duration DrawColdStart();
  Result<std::unique_ptr<Process>> Spawn(NodeId node);
  void OnOutput(Process& process);
  void OnExit(Process& process);
  void GiveUp(Process& process, const Error& reason);
  void BeginReclaim(Process& process);
  // Sets the timer to what the schedule says is due next.
  void ArmReclaims();
  void ReclaimDue();

  net::EventLoop& control_;
  LocalOptions options_;
  Traits traits_;
  Observer* observer_ = nullptr;
  std::map<NodeId, std::unique_ptr<Process>> processes_;
  std::map<NodeId, std::unique_ptr<net::Timer>> cold_starts_;  // invoked, no process yet
  Random random_;
  policy::ReclaimSchedule reclaims_;
  net::Timer reclaim_timer_;
  // Shared with events that are posted: none is told after Stop.
  std::shared_ptr<bool> stopped_ = std::make_shared<bool>(false);
};

// The infinicache-node beside the running program, or the one on PATH. Errors: kNotFound with the
// remedy.
Result<std::string> FindNodeProgram();

}  // namespace infinicache::platform
