// Instances as processes of this machine: the embedded default and the test bed.
//
// Each Invoke spawns one infinicache-node, which listens on a loopback port of its choice and says
// so on its standard output. Its end is seen through a pidfd, whatever ended it. A node ends with
// its server: its standard input is a pipe from us, and the kernel kills it when the thread that
// spawned it ends, stopped or not. That thread is the control loop's, which must therefore be the
// process's main thread.
//
// Thread-safety: as platform::Platform.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "net/event_loop.h"
#include "platform/platform.h"

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
};

class LocalPlatform final : public Platform {
 public:
  LocalPlatform(net::EventLoop& control, LocalOptions options);
  ~LocalPlatform() override;

  const Traits& traits() const override { return traits_; }
  void set_observer(Observer* observer) override { observer_ = observer; }
  void Invoke(NodeId node) override;
  void Stop(Duration grace) override;

 private:
  struct Process;

  Result<std::unique_ptr<Process>> Spawn(NodeId node);
  void OnOutput(Process& process);
  void OnExit(Process& process);
  void GiveUp(Process& process, const Error& reason);

  net::EventLoop& control_;
  LocalOptions options_;
  Traits traits_;
  Observer* observer_ = nullptr;
  std::map<NodeId, std::unique_ptr<Process>> processes_;
  // Shared with events that are posted: none is told after Stop.
  std::shared_ptr<bool> stopped_ = std::make_shared<bool>(false);
};

// The infinicache-node beside the running program, or the one on PATH. Errors: kNotFound with the
// remedy.
Result<std::string> FindNodeProgram();

}  // namespace infinicache::platform
