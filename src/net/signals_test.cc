#include "net/signals.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "net/testing.h"

namespace infinicache::net {
namespace {

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    CHECK(pipe(ends.data()) == 0);
    read_end = ends[0];
    write_end = ends[1];
  }
  ~Pipe() { Close(); }
  void Write(const std::string& text) const {
    CHECK(write(write_end, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  void Close() {
    if (write_end >= 0) close(std::exchange(write_end, -1));
  }

  int read_end = -1;  // a ReadWatch takes it
  int write_end = -1;
};

TEST(SignalWatch, CallsForEachOfItsSignalsAndForNoOther) {
  EventLoop loop("test");
  std::vector<int> seen;
  const SignalWatch watch(loop, {SIGUSR1, SIGUSR2}, [&](int signal) { seen.push_back(signal); });
  const SignalWatch other(loop, {SIGWINCH}, [](int) {});
  raise(SIGUSR1);
  RunUntil(loop, [&] { return seen.size() == 1; });
  raise(SIGUSR2);
  RunUntil(loop, [&] { return seen.size() == 2; });
  raise(SIGWINCH);
  raise(SIGUSR1);
  RunUntil(loop, [&] { return seen.size() == 3; });
  EXPECT_EQ(seen, (std::vector<int>{SIGUSR1, SIGUSR2, SIGUSR1}));
}

TEST(SignalWatch, DoesNotCallAfterItsEnd) {
  EventLoop loop("test");
  int kept = 0;
  int ended = 0;
  const SignalWatch witness(loop, {SIGUSR1}, [&](int) { ++kept; });
  std::optional<SignalWatch> watch(std::in_place, loop, std::initializer_list<int>{SIGUSR1},
                                   [&](int) { ++ended; });
  watch.reset();
  for (int round = 1; round <= 2; ++round) {
    raise(SIGUSR1);
    RunUntil(loop, [&] { return kept == round; });
  }
  RunReady(loop);
  EXPECT_EQ(ended, 0);
}

// Both calls are queued by one signal; the first of them ends the other's watch.
TEST(SignalWatch, DoesNotCallAfterItsEndEvenIfTheSignalCameBefore) {
  EventLoop loop("test");
  int calls = 0;
  std::array<std::optional<SignalWatch>, 2> watches;
  for (std::size_t i = 0; i < 2; ++i) {
    watches[i].emplace(loop, std::initializer_list<int>{SIGUSR1}, [&, i](int) {
      ++calls;
      watches[1 - i].reset();
    });
  }
  raise(SIGUSR1);
  RunUntil(loop, [&] { return calls > 0; });
  RunReady(loop);
  EXPECT_EQ(calls, 1);
}

TEST(SignalWatch, ItsFunctionMayEndIt) {
  EventLoop loop("test");
  std::optional<SignalWatch> watch;
  watch.emplace(loop, std::initializer_list<int>{SIGUSR1}, [&](int) { watch.reset(); });
  raise(SIGUSR1);
  RunUntil(loop, [&] { return !watch; });
}

TEST(ReadWatch, CallsWhenBytesComeAndAtTheEnd) {
  EventLoop loop("test");
  Pipe pipe;
  std::string text;
  bool ended = false;
  std::optional<ReadWatch> watch;
  watch.emplace(loop, pipe.read_end, [&] {
    std::array<char, 2> buffer;
    const ssize_t bytes = read(pipe.read_end, buffer.data(), buffer.size());
    if (bytes > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(bytes));
    } else {
      ended = true;
      watch.reset();
    }
  });
  RunReady(loop);
  EXPECT_EQ(text, "");
  pipe.Write("ab");
  RunUntil(loop, [&] { return text.size() == 2; });
  // More than one call reads: it is called again while something is left.
  pipe.Write("cdefg");
  RunUntil(loop, [&] { return text.size() == 7; });
  pipe.Close();
  RunUntil(loop, [&] { return ended; });
  EXPECT_EQ(text, "abcdefg");
}

TEST(ReadWatch, OwnsTheDescriptorAndDoesNotCallAfterItsEnd) {
  EventLoop loop("test");
  Pipe pipe;
  int calls = 0;
  auto watch = std::make_unique<ReadWatch>(loop, pipe.read_end, [&] { ++calls; });
  pipe.Write("x");
  watch.reset();
  RunReady(loop);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(fcntl(pipe.read_end, F_GETFD), -1);
  EXPECT_EQ(errno, EBADF);
}

}  // namespace
}  // namespace infinicache::net
