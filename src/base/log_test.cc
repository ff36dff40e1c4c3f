#include "base/log.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace infinicache {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

TEST(LogGate, LetsOneThroughPerInterval) {
  internal::LogGate gate;
  std::uint64_t skipped = 99;
  EXPECT_TRUE(gate.Open(hours(1), skipped));
  EXPECT_EQ(skipped, 0U);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(gate.Open(hours(1), skipped));
}

TEST(LogGate, ReportsOnceHowManyItHeldBack) {
  internal::LogGate gate;
  std::uint64_t skipped = 0;
  ASSERT_TRUE(gate.Open(milliseconds(5), skipped));
  std::uint64_t held_back = 0;
  while (!gate.Open(milliseconds(0), skipped)) ++held_back;
  EXPECT_EQ(skipped, held_back);
  ASSERT_TRUE(gate.Open(milliseconds(0), skipped));
  EXPECT_EQ(skipped, 0U);
}

TEST(LogGate, LetsOneOfManyThreadsThrough) {
  internal::LogGate gate;
  std::atomic<int> through{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&gate, &through] {
        std::uint64_t skipped = 0;
        for (int i = 0; i < 10'000; ++i) through += gate.Open(hours(1), skipped) ? 1 : 0;
      });
    }
  }
  EXPECT_EQ(through, 1);
}

// Gives the process a logger that writes into `lines`, and puts the old one back.
class LogTest : public testing::Test {
 protected:
  LogTest() : before_(spdlog::default_logger()), level_before_(spdlog::get_level()) {
    auto logger = std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(lines_));
    logger->set_pattern("%l %v");
    spdlog::set_default_logger(logger);
  }
  ~LogTest() override {
    spdlog::set_default_logger(before_);
    spdlog::set_level(level_before_);
  }

  std::string text() const { return lines_.str(); }

 private:
  std::ostringstream lines_;
  std::shared_ptr<spdlog::logger> before_;
  spdlog::level::level_enum level_before_;
};

TEST_F(LogTest, SetLogLevelShowsThatLevelAndAbove) {
  ASSERT_TRUE(SetLogLevel("warn").has_value());
  LOG_INFO("quiet node={}", 1);
  LOG_WARN("loud node={}", 2);
  LOG_ERROR("louder node={}", 3);
  EXPECT_EQ(text(), "warning loud node=2\nerror louder node=3\n");
}

TEST_F(LogTest, EveryNamedLevelIsAccepted) {
  for (const char* level : {"trace", "debug", "info", "warn", "error", "off"}) {
    EXPECT_TRUE(SetLogLevel(level).has_value()) << level;
  }
  LOG_ERROR("off is silent");
  EXPECT_EQ(text(), "");
}

TEST_F(LogTest, SetLogLevelNamesTheChoicesAndChangesNothingOnAnUnknownLevel) {
  ASSERT_TRUE(SetLogLevel("warn").has_value());
  const Status status = SetLogLevel("loud");
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(status.error().message,
            "log level 'loud' is unknown; choose trace, debug, info, warn, error or off");
  EXPECT_EQ(spdlog::get_level(), spdlog::level::warn);
}

TEST_F(LogTest, WarnEveryPrintsOneLinePerIntervalAndPlace) {
  for (int i = 0; i < 50; ++i) {
    LOG_WARN_EVERY(hours(1), "first i={}", i);
    LOG_WARN_EVERY(hours(1), "second i={}", i);
  }
  EXPECT_EQ(text(), "warning first i=0\nwarning second i=0\n");
}

}  // namespace
}  // namespace infinicache
