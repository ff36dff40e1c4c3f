#include "platform/local/local_platform.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "net/frame_reader.h"
#include "net/handshake.h"
#include "net/testing.h"
#include "platform/local/local_platform_for_test.h"

namespace infinicache::platform {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST_F(LocalPlatformTest, StatesItsTraits) {
  Make(Options(NodeProgram()));
  EXPECT_TRUE(platform_->traits().inbound);
  EXPECT_TRUE(platform_->traits().same_host);
  EXPECT_FALSE(platform_->traits().freezes);
  EXPECT_EQ(platform_->traits().node_memory_bytes, 4 * kMiB);
}

TEST_F(LocalPlatformTest, StartsANodeThatServesLinks) {
  Make(Options(NodeProgram()));
  const Instance instance = StartOne();
  EXPECT_EQ(instance.node, NodeId(3));
  EXPECT_NE(instance.id, InstanceId());
  EXPECT_EQ(instance.address.host, "127.0.0.1");
  EXPECT_TRUE(Exists(instance.pid));
  EXPECT_EQ(getpgid(instance.pid), instance.pid) << "Ctrl-C must not reach the nodes";

  auto socket =
      RunTask(loop_, net::Socket::Connect(loop_, instance.address, {}, net::TestDeadline()));
  ASSERT_TRUE(socket) << socket.error().message;
  net::FrameReader reader(*socket, wire::kFrameHeaderBytes);
  const auto status =
      RunTask(loop_, net::HandshakeAsDialer(*socket, reader, kSecret, net::TestDeadline()));
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(status->node, NodeId(3));
  EXPECT_EQ(status->instance, instance.id);
  EXPECT_EQ(status->bytes_limit, 4 * kMiB);
}

TEST_F(LocalPlatformTest, RunsManyNodesAndStopEndsThemAll) {
  Make(Options(NodeProgram()));
  constexpr std::uint32_t kNodes = 6;
  for (std::uint32_t i = 0; i < kNodes; ++i) Invoke(NodeId(i));
  net::RunUntil(loop_, [&] { return observer_.ready.size() == kNodes; });
  std::set<std::uint16_t> ports;
  std::set<InstanceId> ids;
  for (const Instance& instance : observer_.ready) {
    ports.insert(instance.address.port);
    ids.insert(instance.id);
  }
  EXPECT_EQ(ports.size(), kNodes);
  EXPECT_EQ(ids.size(), kNodes);
  // A process that is stopped ends too.
  ASSERT_EQ(kill(observer_.ready.front().pid, SIGSTOP), 0);

  platform_->Stop(net::kTestPatience);
  for (const Instance& instance : observer_.ready) EXPECT_FALSE(Exists(instance.pid));
  net::RunReady(loop_);
  EXPECT_TRUE(observer_.ended.empty()) << "no event follows Stop";
  EXPECT_TRUE(observer_.failed.empty());
}

TEST_F(LocalPlatformTest, StopEndsByForceWhatDoesNotEndInOrder) {
  Make(Options(Script("trap '' TERM\necho '" + std::string(kReadyLine) + "'\nread line")));
  Invoke(NodeId(0));
  net::RunUntil(loop_, [&] { return !observer_.ready.empty(); });
  platform_->Stop(milliseconds(20));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD) << "a child is left";
}

TEST_F(LocalPlatformTest, AKilledNodeIsReportedAndCanBeInvokedAgain) {
  Make(Options(NodeProgram()));
  const Instance first = StartOne();
  ASSERT_EQ(kill(first.pid, SIGKILL), 0);
  net::RunUntil(loop_, [&] { return !observer_.ended.empty(); });
  ASSERT_EQ(observer_.ended.size(), 1U);
  EXPECT_EQ(observer_.ended[0].first.node, NodeId(3));
  EXPECT_EQ(observer_.ended[0].first.id, first.id);
  EXPECT_EQ(observer_.ended[0].first.address, first.address);
  EXPECT_EQ(observer_.ended[0].second.reason, "killed by signal 9");
  EXPECT_FALSE(observer_.ended[0].second.reclaimed);
  EXPECT_FALSE(Exists(first.pid)) << "not reaped";

  const Instance second = StartOne();
  EXPECT_NE(second.id, first.id);
  EXPECT_NE(second.pid, first.pid);
}

TEST_F(LocalPlatformTest, ANodeThatEndsInOrderIsReported) {
  Make(Options(NodeProgram()));
  const Instance instance = StartOne();
  ASSERT_EQ(kill(instance.pid, SIGTERM), 0);
  net::RunUntil(loop_, [&] { return !observer_.ended.empty(); });
  EXPECT_EQ(observer_.ended[0].second.reason, "exited with status 0");
}

TEST_F(LocalPlatformTest, AReclaimWithoutNoticeKillsTheInstance) {
  Make(Options(NodeProgram()));
  EXPECT_EQ(platform_->Reclaim(NodeId(3)).error().code, ErrorCode::kNotFound);
  const Instance instance = StartOne();
  // Stopped or not makes no difference to SIGKILL.
  ASSERT_EQ(kill(instance.pid, SIGSTOP), 0);
  ASSERT_TRUE(platform_->Reclaim(NodeId(3)));
  net::RunUntil(loop_, [&] { return !observer_.ended.empty(); });
  EXPECT_TRUE(observer_.ended[0].second.reclaimed);
  EXPECT_EQ(observer_.ended[0].first.id, instance.id);
  EXPECT_FALSE(Exists(instance.pid));
  EXPECT_NE(StartOne().id, instance.id);
}

TEST_F(LocalPlatformTest, AReclaimWithNoticeLetsTheInstanceEndInOrder) {
  LocalOptions options = Options(Script("trap 'exit 0' TERM\necho '" + std::string(kReadyLine) +
                                        "'\nwhile :; do sleep 0.01; done"));
  options.reclaim_grace = net::kTestPatience;
  Make(options);
  StartOne();
  ASSERT_TRUE(platform_->Reclaim(NodeId(3)));
  ASSERT_TRUE(platform_->Reclaim(NodeId(3))) << "once more changes nothing";
  net::RunUntil(loop_, [&] { return !observer_.ended.empty(); });
  EXPECT_TRUE(observer_.ended[0].second.reclaimed);
}

TEST_F(LocalPlatformTest, AnInstanceThatIgnoresTheNoticeIsKilled) {
  LocalOptions options = Options(
      Script("trap '' TERM\necho '" + std::string(kReadyLine) + "'\nwhile :; do sleep 0.01; done"));
  options.reclaim_grace = milliseconds(30);
  Make(options);
  StartOne();
  ASSERT_TRUE(platform_->Reclaim(NodeId(3)));
  net::RunUntil(loop_, [&] { return !observer_.ended.empty(); });
  EXPECT_TRUE(observer_.ended[0].second.reclaimed);
}

TEST_F(LocalPlatformTest, TheScheduleReclaimsInstances) {
  LocalOptions options = Options(NodeProgram());
  options.reclaim = {policy::ReclaimModel::Kind::kMaxLife, 1, milliseconds(50), {}};
  Make(options);
  const Instance first = StartOne(NodeId(3));
  net::RunUntil(loop_, [&] { return !observer_.ended.empty(); });
  EXPECT_EQ(observer_.ended[0].first.id, first.id);
  EXPECT_TRUE(observer_.ended[0].second.reclaimed);
  const Instance second = StartOne(NodeId(3));
  net::RunUntil(loop_, [&] { return observer_.ended.size() == 2; });
  EXPECT_EQ(observer_.ended[1].first.id, second.id);
}

TEST_F(LocalPlatformTest, AColdStartDelaysTheInstanceAndEndsWithThePlatform) {
  LocalOptions options = Options(NodeProgram());
  options.cold_start_min = options.cold_start_max = milliseconds(40);
  Make(options);
  const TimePoint begin = net::EventLoop::Now();
  StartOne(NodeId(3));
  EXPECT_GE(net::EventLoop::Now() - begin, milliseconds(40));
  Invoke(NodeId(4));
  platform_->Stop(seconds(5));
  net::RunReady(loop_);
  EXPECT_EQ(observer_.ready.size(), 1U);
}

TEST_F(LocalPlatformTest, ReadsAReadyLineThatComesInPieces) {
  const std::string line(kReadyLine);
  Make(Options(Script("printf '%s' '" + line.substr(0, 9) + "'\nsleep 0.02\nprintf '%s\\n' '" +
                      line.substr(9) + "'\necho more\nread line")));
  Invoke(NodeId(3));
  net::RunUntil(loop_, [&] { return !observer_.ready.empty(); });
  EXPECT_EQ(observer_.ready[0].node, NodeId(3));
  EXPECT_EQ(observer_.ready[0].id, InstanceId(0xAB));
  EXPECT_EQ(observer_.ready[0].address, (net::HostPort{"127.0.0.1", 40001}));
  EXPECT_EQ(observer_.ready[0].pid, 7);
}

// --- Invocations that fail ----------------------------------------------------------------------

TEST_F(LocalPlatformTest, AProgramThatIsNotThereOrNoProgramIsNamed) {
  const Error missing = FailureOf(Options("/nonexistent/infinicache-node"));
  EXPECT_THAT(missing.message, AllOf(HasSubstr("cannot start /nonexistent/infinicache-node"),
                                     HasSubstr("No such file or directory")));
  const std::string script = Script("exit 0");
  ASSERT_EQ(chmod(script.c_str(), 0600), 0);
  EXPECT_THAT(FailureOf(Options(script)).message, HasSubstr("Permission denied"));
}

TEST_F(LocalPlatformTest, AProgramThatEndsAtOnceIsToldWithItsStatus) {
  const Error exited = FailureOf(Options(Script("exit 3")));
  EXPECT_EQ(exited.code, ErrorCode::kUnavailable);
  EXPECT_THAT(exited.message, StartsWith("node 3 exited with status 3 before it was ready"));
  const Error killed = FailureOf(Options(Script("kill -9 $$")));
  EXPECT_THAT(killed.message, StartsWith("node 3 killed by signal 9 before it was ready"));
}

TEST_F(LocalPlatformTest, ANodeWithoutSecretDoesNotStart) {
  LocalOptions options = Options(NodeProgram());
  options.secret.clear();
  EXPECT_THAT(FailureOf(options).message, HasSubstr("exited with status 2"));
}

TEST_F(LocalPlatformTest, AProgramThatSaysSomethingElseIsQuotedAndEnded) {
  for (const std::string& line :
       {std::string("hello"), std::string("{}"), std::string("[1]"), std::string("{\"port\":1}"),
        std::string(R"({"port":0,"instance":"1","pid":7})"),
        std::string(R"({"port":65536,"instance":"1","pid":7})"),
        std::string(R"({"port":"1","instance":"1","pid":7})"),
        std::string(R"({"port":1,"instance":"0","pid":7})"),
        std::string(R"({"port":1,"instance":"xyz","pid":7})"),
        std::string(R"({"port":1,"instance":1,"pid":7})"),
        std::string(R"({"port":1,"instance":"1"})")}) {
    const Error error = FailureOf(Options(Script("echo '" + line + "'\nexec sleep 1000")));
    EXPECT_EQ(error.code, ErrorCode::kProtocol) << line;
    EXPECT_EQ(error.message, "node 3 said '" + line + "' instead of its port");
  }
}

TEST_F(LocalPlatformTest, AProgramThatTalksWithoutEndIsEnded) {
  const Error error = FailureOf(Options(Script("exec tr '\\0' x < /dev/zero")));
  EXPECT_EQ(error.code, ErrorCode::kProtocol);
  EXPECT_THAT(error.message, StartsWith("node 3 said 'xxxx"));
  EXPECT_LT(error.message.size(), 300U);
}

TEST_F(LocalPlatformTest, AProgramThatSaysNothingIsEndedAtTheStartTimeout) {
  LocalOptions options = Options(Script("exec sleep 1000"));
  options.start_timeout = milliseconds(30);
  const Error error = FailureOf(options);
  EXPECT_EQ(error.code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(error.message, "node 3 did not tell its port within 30 ms");
}

TEST_F(LocalPlatformTest, AFailureThatIsNotToldYetIsNotToldAfterStop) {
  Make(Options("/nonexistent/infinicache-node"));
  Invoke(NodeId(0));
  platform_->Stop(seconds(0));
  net::RunReady(loop_);
  EXPECT_TRUE(observer_.failed.empty());
}

// --- Nodes and their server ---------------------------------------------------------------------

// A server in a process of its own, with one node.
class Server {
 public:
  enum class Then : std::uint8_t { kWait, kCloseDescriptors };

  explicit Server(Then then) {
    std::array<int, 2> ends{};
    CHECK(pipe(ends.data()) == 0);
    pid_ = fork();
    CHECK(pid_ >= 0);
    if (pid_ == 0) Serve(ends[1], then);
    close(ends[1]);
    CHECK(read(ends[0], &node_pid_, sizeof(node_pid_)) == sizeof(node_pid_),
          "the server ended before its node was ready");
    close(ends[0]);
  }
  ~Server() { Kill(); }

  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(std::exchange(pid_, -1), nullptr, 0);
  }
  pid_t node_pid() const { return node_pid_; }

 private:
  [[noreturn]] static void Serve(int report, Then then) {
    net::EventLoop loop("control");
    RecordingObserver observer;
    LocalPlatform platform(loop, Options(NodeProgram()));
    platform.set_observer(&observer);
    platform.Invoke(NodeId(0), {SessionId(1)});
    net::RunUntil(loop, [&] { return !observer.ready.empty(); });
    const pid_t pid = observer.ready.front().pid;
    CHECK(write(report, &pid, sizeof(pid)) == sizeof(pid));
    if (then == Then::kCloseDescriptors) {
      for (int fd = 3; fd < 1024; ++fd) close(fd);
    }
    for (;;) pause();
  }

  pid_t pid_ = -1;
  pid_t node_pid_ = -1;
};

TEST(LocalPlatformProcess, ANodeEndsWithItsServer) {
  Server server(Server::Then::kWait);
  ASSERT_TRUE(Exists(server.node_pid()));
  server.Kill();
  EXPECT_TRUE(EndsSoon(server.node_pid()));
}

TEST(LocalPlatformProcess, AStoppedNodeEndsWithItsServerToo) {
  Server server(Server::Then::kWait);
  ASSERT_EQ(kill(server.node_pid(), SIGSTOP), 0);
  server.Kill();
  EXPECT_TRUE(EndsSoon(server.node_pid()));
}

TEST(LocalPlatformProcess, ANodeEndsWhenItsServerClosesThePipe) {
  const Server server(Server::Then::kCloseDescriptors);
  EXPECT_TRUE(EndsSoon(server.node_pid()));
}

TEST_F(LocalPlatformTest, DestroyingThePlatformEndsItsNodes) {
  Make(Options(NodeProgram()));
  const Instance instance = StartOne();
  platform_.reset();
  EXPECT_FALSE(Exists(instance.pid));
}

// As the process's state in /proc: R, S, T (stopped), …
char ProcessState(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  return text[text.rfind(')') + 2];
}

// The kernel stops it a moment after the signal, of which no event tells.
bool StopsSoon(pid_t pid) {
  const TimePoint deadline = net::TestDeadline();
  while (ProcessState(pid) != 'T' && net::EventLoop::Now() < deadline) poll(nullptr, 0, 1);
  return ProcessState(pid) == 'T';
}

LocalOptions FunctionOptions() {
  LocalOptions options = Options(NodeProgram());
  options.traits.standing = false;
  options.traits.freezes = true;
  options.traits.billing_quantum = milliseconds(1);
  options.traits.session_max = seconds(60);
  return options;
}

TEST_F(LocalPlatformTest, AnIdleInstanceIsFrozenAndThawedByTheNextInvocation) {
  Make(FunctionOptions());
  const Instance instance = StartOne();
  net::RunUntil(loop_, [&] { return observer_.sessions.size() == 1; });
  EXPECT_FALSE(observer_.sessions[0].second.fault);
  EXPECT_TRUE(observer_.sessions[0].second.cold);
  EXPECT_TRUE(StopsSoon(instance.pid));
  EXPECT_EQ(platform_->Count().frozen, 1U);

  const SessionId session = Invoke(instance.node);
  EXPECT_EQ(platform_->Count().busy, 1U);
  net::RunUntil(loop_, [&] { return observer_.sessions.size() == 2; });
  EXPECT_EQ(observer_.sessions[1].first, session);
  EXPECT_FALSE(observer_.sessions[1].second.cold);
  EXPECT_EQ(observer_.sessions[1].second.init, Duration(0));
  EXPECT_EQ(observer_.ready.size(), 1U) << "the same instance";
}

TEST_F(LocalPlatformTest, TellsHowLongItsInstancesHaveLived) {
  Make(Options(NodeProgram()));
  EXPECT_EQ(platform_->Count().lived, Duration(0));
  const TimePoint before = net::EventLoop::Now();
  const Instance instance = StartOne();
  const auto living = platform_->Count().lived;
  ASSERT_EQ(kill(instance.pid, SIGKILL), 0);
  net::RunUntil(loop_, [&] { return !observer_.ended.empty(); });
  const auto ended = platform_->Count().lived;
  EXPECT_GT(living, Duration(0));
  EXPECT_GE(ended, living) << "it never falls";
  EXPECT_LE(*ended, net::EventLoop::Now() - before);
  EXPECT_EQ(platform_->Count().lived, ended) << "who has ended lives no longer";
}

TEST_F(LocalPlatformTest, AnInvocationOfABusyNodeStartsASecondInstance) {
  LocalOptions options = FunctionOptions();
  options.traits.standing = true;  // its sessions go on
  Make(options);
  const Instance first = StartOne();
  const Instance second = StartOne();
  EXPECT_EQ(first.node, second.node);
  EXPECT_NE(first.id, second.id);
  EXPECT_NE(first.pid, second.pid);
  EXPECT_EQ(platform_->Count().busy, 2U);
  ASSERT_TRUE(platform_->Reclaim(first.node));
  net::RunUntil(loop_, [&] { return observer_.ended.size() == 1; });
  EXPECT_EQ(observer_.ended[0].first.id, first.id) << "the older one";
}

TEST_F(LocalPlatformTest, OfTwoIdleInstancesTheLatestIsInvokedUnlessTheChoiceIsAnother) {
  // Writes its session to a file of its own, and ends it once `hold` is gone.
  const std::string program = Script(R"(cd "${0%/*}"
printf '{"port":0,"instance":"%016x","pid":%d}\n' $$ $$
while read -r line; do
  session=${line#*session\":\"}; session=${session%%\"*}
  echo "$session" > session-$$
  while [ -e hold ]; do sleep 0.01; done
  printf '{"end":"%s"}\n' "$session"
done)");
  // The process that had the session.
  const auto who_had = [&](SessionId session) {
    for (const auto& file : std::filesystem::directory_iterator(folder_)) {
      std::string text;
      std::ifstream(file.path()) >> text;
      if (text == fmt::format("{:016x}", session.value())) return file.path().filename().string();
    }
    return std::string("none");
  };
  for (const IdleChoice choice : {IdleChoice::kLatest, IdleChoice::kEarliest}) {
    LocalOptions options = FunctionOptions();
    options.node_program = program;
    options.traits.inbound = options.traits.freezes = false;
    options.idle_choice = choice;
    Make(options);
    observer_.sessions.clear();
    const auto hold = folder_ / "hold";
    std::ofstream(hold) << "until both run\n";
    StartOne();
    StartOne();
    while (who_had(SessionId(last_session_)) == "none")
      net::RunTask(loop_, loop_.Sleep(milliseconds(5)));
    std::filesystem::remove(hold);
    net::RunUntil(loop_, [&] { return observer_.sessions.size() == 2; });
    const std::string latest = who_had(observer_.sessions.back().first);
    Invoke(NodeId(3));
    net::RunUntil(loop_, [&] { return observer_.sessions.size() == 3; });
    EXPECT_EQ(who_had(observer_.sessions.back().first) == latest, choice == IdleChoice::kLatest);
    platform_->Stop(seconds(5));
  }
}

TEST_F(LocalPlatformTest, ASessionBeyondTheLongestIsEndedWithItsInstance) {
  LocalOptions options = FunctionOptions();
  options.traits.standing = true;  // a node that does not end its session by itself
  options.traits.session_max = milliseconds(300);
  Make(options);
  const Instance instance = StartOne();
  net::RunUntil(loop_, [&] { return observer_.ended.size() == 1; });
  ASSERT_EQ(observer_.sessions.size(), 1U);
  ASSERT_TRUE(observer_.sessions[0].second.fault);
  EXPECT_EQ(observer_.sessions[0].second.fault->code, ErrorCode::kDeadlineExceeded);
  EXPECT_GE(observer_.sessions[0].second.duration, milliseconds(300));
  EXPECT_FALSE(Exists(instance.pid));
}

TEST_F(LocalPlatformTest, ASessionThatReturnedWhileNobodyLookedIsNotTooLong) {
  const std::string returns_at_once = "echo '" + std::string(kReadyLine) + R"('
read line; session=${line#*session\":\"}
echo "{\"end\":\"${session%%\"*}\"}"
read line)";
  LocalOptions options = FunctionOptions();
  options.node_program = Script(returns_at_once);
  options.traits.session_max = milliseconds(300);
  Make(options);
  StartOne();
  poll(nullptr, 0, 600);
  net::RunUntil(loop_, [&] { return !observer_.sessions.empty(); });
  EXPECT_FALSE(observer_.sessions[0].second.fault);
  EXPECT_EQ(platform_->Count().frozen, 1U);
}

TEST_F(LocalPlatformTest, AFrozenInstanceThatIsReclaimedIsSeenOnlyByTheNextOne) {
  LocalOptions options = FunctionOptions();
  options.traits.tells_ends = false;
  Make(options);
  const Instance first = StartOne();
  net::RunUntil(loop_, [&] { return platform_->Count().frozen == 1; });
  ASSERT_TRUE(platform_->Reclaim(first.node));
  EXPECT_TRUE(EndsSoon(first.pid));
  net::RunUntil(loop_, [&] { return platform_->Count().frozen == 0; });
  EXPECT_TRUE(observer_.ended.empty());
  EXPECT_NE(StartOne().id, first.id);
}

TEST_F(LocalPlatformTest, AnInstanceThatDrainsIsNotInvokedAnyMore) {
  LocalOptions options = FunctionOptions();
  options.traits.freezes = false;
  options.reclaim_drain = seconds(60);
  Make(options);
  const Instance old = StartOne();
  net::RunUntil(loop_, [&] { return platform_->Count().idle == 1; });
  ASSERT_TRUE(platform_->Reclaim(old.node));
  const Instance fresh = StartOne();
  EXPECT_NE(fresh.id, old.id);
  EXPECT_TRUE(Exists(old.pid)) << "both live for a while";
}

TEST_F(LocalPlatformTest, NodesOfAHostAreReclaimedTogether) {
  LocalOptions options = Options(NodeProgram());
  options.nodes_per_host = 2;
  options.reclaim.kind = policy::ReclaimModel::Kind::kReplay;
  options.reclaim.replay = {{milliseconds(500), NodeId(3)}};
  Make(options);
  for (std::uint32_t i = 0; i < 5; ++i) Invoke(NodeId(i));
  net::RunUntil(loop_, [&] { return observer_.ended.size() == 2; });
  std::set<NodeId> ended;
  for (const auto& [instance, end] : observer_.ended) ended.insert(instance.node);
  EXPECT_EQ(ended, (std::set<NodeId>{NodeId(2), NodeId(3)}));
}

TEST_F(LocalPlatformTest, TheKernelKeepsAnInstanceToItsMemoryLimit) {
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  GTEST_SKIP() << "sanitizers take more memory than any limit";
#endif
  Make(Options(NodeProgram()));
  std::ifstream limits("/proc/" + std::to_string(StartOne().pid) + "/limits");
  const std::string text(std::istreambuf_iterator<char>(limits), {});
  EXPECT_THAT(text, ::testing::ContainsRegex("Max data size +" +
                                             std::to_string(InstanceMemoryLimit(4 * kMiB))));
}

TEST_F(LocalPlatformTest, InstancesOfAHostShareItsBandwidth) {
  LocalOptions options = Options(NodeProgram());
  options.host_bandwidth_bytes_per_second = kMiB;
  options.nodes_per_host = 2;
  Make(options);
  const auto account = [&](NodeId node) {
    struct stat about{};
    const std::string path = "/proc/" + std::to_string(StartOne(node).pid) + "/fd/3";
    CHECK(stat(path.c_str(), &about) == 0);
    return about.st_ino;
  };
  const ino_t host_0 = account(NodeId(0));
  EXPECT_EQ(account(NodeId(1)), host_0);
  EXPECT_NE(account(NodeId(2)), host_0);
}

TEST_F(LocalPlatformTest, TooManyInstancesOfANodeAreRefused) {
  LocalOptions options = Options(NodeProgram());
  Make(options);
  for (int i = 0; i < 8; ++i) StartOne();
  Invoke(NodeId(3));
  net::RunUntil(loop_, [&] { return !observer_.failed.empty(); });
  EXPECT_THAT(observer_.failed[0].second.message, HasSubstr("more are not started"));
}

// --- FindNodeProgram ----------------------------------------------------------------------------

// Sets PATH while it lives.
class PathForTest {
 public:
  explicit PathForTest(const std::string& path) : before_(std::getenv("PATH")) {
    setenv("PATH", path.c_str(), 1);
  }
  ~PathForTest() { setenv("PATH", before_.c_str(), 1); }

 private:
  std::string before_;
};

TEST(FindNodeProgram, LooksInEveryFolderOfPath) {
  const PathForTest path("/nonexistent::" + ProgramFolder().string());
  EXPECT_EQ(FindNodeProgram(), NodeProgram());
}

TEST(FindNodeProgram, NamesTheRemedyWhenThereIsNone) {
  for (const std::string_view path : {"", "/nonexistent", ":::"}) {
    const PathForTest nowhere{std::string(path)};
    const auto program = FindNodeProgram();
    ASSERT_FALSE(program);
    EXPECT_EQ(program.error().code, ErrorCode::kNotFound);
    EXPECT_THAT(program.error().message, HasSubstr("install both programs"));
  }
}

}  // namespace
}  // namespace infinicache::platform
