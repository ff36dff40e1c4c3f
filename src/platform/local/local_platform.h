// Functions as processes of this machine: the embedded default and the test bed.
//
// An invocation goes to an idle instance of its node, or starts one: an infinicache-node process.
// It is written to the process's standard input; the process says on its standard output that it is
// ready (with the port that it listens on, if it does) and when a session has ended. Its end is
// seen through a pidfd, whatever ended it. Who is the processes' parent, and whether they outlive a
// crash of this server, is up to their host (platform/local/process_host.h).
//
// What a provider does to its functions is done to the processes, by Traits: an idle one is stopped
// (SIGSTOP) until it is invoked (SIGCONT), a session that exceeds the longest one is ended by
// SIGKILL, a second invocation at the same time starts a second instance. A cold start takes as
// long as is drawn, and instances are reclaimed by a schedule (policy/reclaim_schedule.h): after a
// drain, in which they are not invoked any more, with notice (SIGTERM) or without (SIGKILL).
//
// Thread-safety: as platform::Platform.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"
#include "net/event_loop.h"
#include "net/timer.h"
#include "platform/local/guarded_processes.h"
#include "platform/platform.h"
#include "policy/reclaim_schedule.h"

namespace infinicache::platform {

// Which of several idle instances of a node an invocation takes. Providers say nothing of it; as a
// rule it is the one that was used last.
enum class IdleChoice : std::uint8_t { kLatest, kEarliest, kRandom };

struct LocalOptions {
  std::string node_program;  // path of infinicache-node
  // What the functions are like; node_memory_bytes and same_host are set here.
  Traits traits = {};
  std::uint64_t node_memory_bytes = 512 * kMiB;
  // Of a session: the time that staying idle may cost as much as another invocation (IdleStay).
  Duration idle_break_even{0};
  std::uint64_t bandwidth_bytes_per_second = 0;       // of each link; 0 is unlimited
  std::uint64_t host_bandwidth_bytes_per_second = 0;  // of all instances of a host together
  int socket_buffer_bytes = 0;
  std::string secret;
  std::string log_level = "info";
  bool test_hooks = false;
  // Nodes that stand keep chunks in memory that this process can map, unless a bandwidth is set.
  bool share_memory = false;
  Duration start_timeout = std::chrono::seconds(20);
  // An invocation waits for so long before the process starts: drawn uniformly between the two.
  Duration cold_start_min{0};
  Duration cold_start_max{0};
  IdleChoice idle_choice = IdleChoice::kLatest;
  policy::ReclaimModel reclaim;
  // Nodes 0 to k-1 share a host, and so on; who is reclaimed takes those of its host with it.
  std::uint64_t nodes_per_host = 1;
  // A reclaimed instance is not invoked any more, and only ended after so long.
  Duration reclaim_drain{0};
  // 0: reclaimed instances are killed. Else they are told (SIGTERM) and killed after so long.
  Duration reclaim_grace{0};
  std::uint64_t seed = 1;
};

// What the kernel keeps an instance with this memory for chunks to. Beside its chunks an instance
// has their index, of which the store counts a share as theirs, and its code, stacks and buffers.
constexpr std::uint64_t InstanceMemoryLimit(std::uint64_t node_memory_bytes) {
  return node_memory_bytes + node_memory_bytes / 2 + 64 * kMiB;
}

class LocalPlatform final : public Platform {
 public:
  // Without a host the nodes are children of this process.
  LocalPlatform(net::EventLoop& control, LocalOptions options,
                std::unique_ptr<ProcessHost> host = nullptr);
  ~LocalPlatform() override;

  // Takes over what a server before us has left: its instances are idle, and the observer is told
  // that they are ready. Of several of a node the primary is taken, or else the latest; others, and
  // what was not ready yet, are ended. After set_observer, before the first Invoke.
  std::vector<Instance> Adopt(std::vector<Survivor> survivors);
  bool Has(const Instance& instance) const;
  // Ends an adopted instance that does not answer.
  void Abandon(const Instance& instance);
  // From here on the nodes end with this process, however it ends.
  void BeginStop() { host_->BeginStop(); }

  const Traits& traits() const override { return options_.traits; }
  void set_observer(Observer* observer) override { observer_ = observer; }
  void Invoke(NodeId node, const Invocation& invocation) override;
  Status Reclaim(NodeId node) override;
  void NotePrimary(NodeId node, InstanceId instance) override;
  std::uint32_t HostOf(NodeId node) const override {
    return static_cast<std::uint32_t>(node.value() / options_.nodes_per_host);
  }
  InstanceCounts Count() const override;
  void Stop(Duration grace) override;

 private:
  struct Process;
  using Processes = std::vector<std::unique_ptr<Process>>;

  // Instances of one node that live at the same time, at most: two, and old ones that drain.
  static constexpr std::size_t kInstancesMax = 8;

  void Start(NodeId node, const Invocation& invocation, TimePoint invoked);
  void Deliver(Process& process, const Invocation& invocation);
  void FailLater(NodeId node, SessionId session, const Error& error);
  Duration DrawColdStart();
  std::vector<std::string> Arguments(NodeId node) const;
  Process& Add(NodeId node, NodeProcess started);
  void DescribeRoles(NodeId node);
  void Adopt(const Instance& instance, const std::string& ready_line, NodeProcess survivor);
  // The memory of the bandwidth that the node's host has; -1 if that is unlimited.
  Result<int> HostBandwidth(NodeId node);
  Process* IdleInstance(NodeId node);
  Process* OldestInstance(NodeId node);
  void OnOutput(Process& process);
  void OnReady(Process& process, std::string_view line);
  void OnReturn(Process& process, std::string_view line);
  void EndSession(Process& process, std::optional<Error> fault);
  void OnExit(Process& process);
  void GiveUp(Process& process, const Error& reason);
  void BeginReclaim(Process& process);
  void Terminate(Process& process);
  // Sets the timer to what the schedule says is due next.
  void ArmReclaims();
  void ReclaimDue();

  net::EventLoop& control_;
  LocalOptions options_;
  std::unique_ptr<ProcessHost> host_;  // outlives the processes
  Observer* observer_ = nullptr;
  std::map<NodeId, Processes> processes_;
  std::map<std::uint32_t, UniqueFd> host_bandwidths_;                 // by host: net::SharedRate
  std::map<std::uint64_t, std::unique_ptr<net::Timer>> cold_starts_;  // invoked, no process yet
  std::uint64_t last_cold_start_ = 0;
  Random random_;
  policy::ReclaimSchedule reclaims_;
  net::Timer reclaim_timer_;
  Duration lived_{0};  // of the processes that have ended, in sum
  // Shared with events that are posted: none is told after Stop.
  std::shared_ptr<bool> stopped_ = std::make_shared<bool>(false);
};

// The infinicache-node beside the running program, or the one on PATH. Errors: kNotFound with the
// remedy.
Result<std::string> FindNodeProgram();

}  // namespace infinicache::platform
