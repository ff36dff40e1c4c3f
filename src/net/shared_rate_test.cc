#include "net/shared_rate.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "net/testing.h"

namespace infinicache::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class SharedRateTest : public testing::Test {
 protected:
  ~SharedRateTest() override { close(fd_); }
  std::shared_ptr<SharedRate> Open(std::uint64_t bytes_per_second) {
    return SharedRate::Open(fd_, bytes_per_second).value();
  }

  const int fd_ = SharedRate::CreateMemory().value();
  const TimePoint now_ = EventLoop::Now();
};

TEST_F(SharedRateTest, BytesArePaidForAtTheRate) {
  const auto rate = Open(1'000'000);
  EXPECT_EQ(rate->Debt(now_), Duration(0));
  rate->Pay(100'000, now_);
  EXPECT_EQ(rate->Debt(now_), milliseconds(100) - SharedRate::kBurst);
  EXPECT_EQ(rate->Debt(now_ + milliseconds(60)), milliseconds(40) - SharedRate::kBurst);
  EXPECT_EQ(rate->Debt(now_ + seconds(1)), Duration(0));
  rate->Pay(500'000, now_ + seconds(10));
  EXPECT_EQ(rate->Debt(now_ + seconds(10)), milliseconds(500) - SharedRate::kBurst)
      << "time that was not used is not saved up";
}

TEST_F(SharedRateTest, AllWhoShareItPayIntoOneAccount) {
  const pid_t child = fork();
  if (child == 0) {
    Open(1'000'000)->Pay(200'000, now_);
    _exit(0);
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  const auto rate = Open(1'000'000);
  rate->Pay(100'000, now_);
  EXPECT_EQ(rate->Debt(now_), milliseconds(300) - SharedRate::kBurst);
}

TEST_F(SharedRateTest, OtherDescriptorsAreRefused) {
  std::array<int, 2> pipe_ends{};
  ASSERT_EQ(pipe(pipe_ends.data()), 0);
  EXPECT_EQ(SharedRate::Open(pipe_ends[0], 1).error().code, ErrorCode::kInvalidArgument);
  for (const int fd : pipe_ends) close(fd);
}

TEST_F(SharedRateTest, ASocketMovesNothingWhileThereIsDebtAndGoesOnAfterIt) {
  EventLoop loop("test");
  SocketPair pair = ConnectedPair(loop);
  const auto rate = Open(1'000'000'000);
  pair.acceptor.Configure({.shared_rate = rate});
  const std::string text = "0123456789";
  const std::array<iovec, 1> pieces = {ToIovec(text)};
  ASSERT_EQ(pair.acceptor.TryWrite(pieces).value(), text.size());
  rate->Pay(60'000'000, EventLoop::Now());  // 60 ms
  EXPECT_EQ(pair.acceptor.TryWrite(pieces).value(), 0U);
  Started<Status> writable(loop, pair.acceptor.WaitWritable());
  RunUntil(loop, [&] { return writable.done(); });
  EXPECT_EQ(rate->Debt(EventLoop::Now()), Duration(0));
  EXPECT_EQ(pair.acceptor.TryWrite(pieces).value(), text.size());

  ASSERT_EQ(pair.dialer.TryWrite(pieces).value(), text.size());
  rate->Pay(60'000'000, EventLoop::Now());
  std::string received(text.size(), ' ');
  const iovec room = ToIovec(received);
  EXPECT_EQ(pair.acceptor.TryRead({&room, 1}).value(), 0U);
  Started<Status> readable(loop, pair.acceptor.WaitReadable());
  RunUntil(loop, [&] { return readable.done(); });
  EXPECT_EQ(pair.acceptor.TryRead({&room, 1}).value(), text.size());
  EXPECT_EQ(received, text);
}

}  // namespace
}  // namespace infinicache::net
