// What the tests of the local platform share. They start real processes: infinicache-node, from
// INFINICACHE_BIN_DIR or from bin/ beside the test program, and shell scripts that play nodes which
// do not do as they should.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "net/testing.h"
#include "platform/local/local_platform.h"

namespace infinicache::platform {
inline constexpr std::string_view kSecret = "the pool's secret";
inline constexpr std::string_view kReadyLine = R"({"port":40001,"instance":"00ab","pid":7})";

inline std::filesystem::path ProgramFolder() {
  if (const char* folder = std::getenv("INFINICACHE_BIN_DIR"); folder != nullptr) return folder;
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "bin";
}

inline std::string NodeProgram() {
  const std::filesystem::path program = ProgramFolder() / "infinicache-node";
  CHECK(access(program.c_str(), X_OK) == 0,
        "{} is not there: build the target infinicache-node, or set INFINICACHE_BIN_DIR",
        program.string());
  return program.string();
}

inline LocalOptions Options(std::string program) {
  LocalOptions options;
  options.node_program = std::move(program);
  options.node_memory_bytes = 4 * kMiB;
  options.secret = kSecret;
  options.log_level = "off";
  return options;
}

// Waits until process `pid`, a child or not, has ended.
inline bool EndsSoon(pid_t pid) {
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (pidfd < 0) return errno == ESRCH;
  pollfd ended{pidfd, POLLIN, 0};
  const int count =
      poll(&ended, 1, static_cast<int>(std::chrono::milliseconds(net::kTestPatience).count()));
  close(pidfd);
  return count == 1;
}

inline bool Exists(pid_t pid) {
  return kill(pid, 0) == 0;
}

class RecordingObserver final : public Observer {
 public:
  void OnInstanceReady(const Instance& instance) override { ready.push_back(instance); }
  void OnInstanceEnded(const Instance& instance, const InstanceEnd& end) override {
    ended.emplace_back(instance, end);
  }
  void OnSessionEnded(NodeId node, SessionId session, const SessionEnd& end) override {
    sessions.emplace_back(session, end);
    if (!end.ran) failed.emplace_back(node, *end.fault);
  }

  std::vector<Instance> ready;
  std::vector<std::pair<Instance, InstanceEnd>> ended;
  std::vector<std::pair<NodeId, Error>> failed;  // invocations that never ran
  std::vector<std::pair<SessionId, SessionEnd>> sessions;
};

class LocalPlatformTest : public testing::Test {
 protected:
  ~LocalPlatformTest() override {
    if (platform_) platform_->Stop(std::chrono::seconds(5));
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  void Make(const LocalOptions& options) {
    platform_.emplace(loop_, options);
    platform_->set_observer(&observer_);
  }

  // An executable script with these lines.
  std::string Script(const std::string& lines) {
    if (folder_.empty()) {
      std::string folder = testing::TempDir() + "nodes-XXXXXX";
      CHECK(mkdtemp(folder.data()) != nullptr);
      folder_ = folder;
    }
    const std::string path = folder_ / ("node-" + std::to_string(scripts_++));
    std::ofstream(path) << "#!/bin/sh\n" << lines << "\n";
    CHECK(chmod(path.c_str(), 0700) == 0);
    return path;
  }

  SessionId Invoke(NodeId node) {
    Invocation invocation;
    invocation.session = SessionId(++last_session_);
    platform_->Invoke(node, invocation);
    return invocation.session;
  }
  Instance StartOne(NodeId node = NodeId(3)) {
    const std::size_t before = observer_.ready.size();
    Invoke(node);
    net::RunUntil(loop_,
                  [&] { return observer_.ready.size() > before || !observer_.failed.empty(); });
    CHECK(observer_.failed.empty(), "{}", observer_.failed.front().second.message);
    return observer_.ready.back();
  }

  // The error of the first invocation of a node whose program this is.
  Error FailureOf(const LocalOptions& options) {
    Make(options);
    Invoke(NodeId(3));
    EXPECT_TRUE(observer_.failed.empty()) << "the observer was called inside Invoke";
    net::RunUntil(loop_, [&] { return !observer_.failed.empty() || !observer_.ready.empty(); });
    EXPECT_TRUE(observer_.ready.empty());
    EXPECT_EQ(observer_.failed.size(), 1U);
    EXPECT_EQ(observer_.failed.front().first, NodeId(3));
    return std::exchange(observer_.failed, {}).front().second;
  }

  std::filesystem::path folder_;
  int scripts_ = 0;
  std::uint64_t last_session_ = 0;
  net::EventLoop loop_{"control"};
  RecordingObserver observer_;
  std::optional<LocalPlatform> platform_;
};

}  // namespace infinicache::platform
