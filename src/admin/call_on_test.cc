#include "admin/call_on.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <thread>

namespace infinicache::admin {
namespace {

net::Task<std::string> NameThread(std::thread::id& ran_on) {
  ran_on = std::this_thread::get_id();
  co_return "done";
}

net::Task<> Ask(net::EventLoop& from, net::EventLoop& on, std::thread::id& ran_on,
                Duration patience, std::optional<std::string>& answer,
                std::thread::id& answered_on) {
  answer = co_await CallOn(from, on, NameThread(ran_on), net::EventLoop::Now() + patience);
  answered_on = std::this_thread::get_id();
  from.Stop();
}

TEST(CallOn, RunsThereAndAnswersHere) {
  net::EventLoop here("here");
  net::EventLoop there("there");
  std::thread::id ran_on;
  std::thread::id answered_on;
  std::optional<std::string> answer;
  there.Start();
  here.Spawn(Ask(here, there, ran_on, std::chrono::seconds(60), answer, answered_on));
  here.Run();
  there.Stop();
  there.Join();
  EXPECT_EQ(answer, "done");
  EXPECT_EQ(answered_on, std::this_thread::get_id());
  EXPECT_NE(ran_on, std::thread::id());
  EXPECT_NE(ran_on, std::this_thread::get_id());
}

TEST(CallOn, GivesUpOnALoopThatDoesNotAnswerAndBearsALateAnswer) {
  net::EventLoop here("here");
  net::EventLoop there("there");
  std::thread::id ran_on;
  std::thread::id answered_on;
  std::optional<std::string> answer = "nothing yet";
  here.Spawn(Ask(here, there, ran_on, std::chrono::milliseconds(20), answer, answered_on));
  here.Run();
  EXPECT_EQ(answer, std::nullopt);
  EXPECT_EQ(ran_on, std::thread::id());
  there.context().poll();
  EXPECT_EQ(ran_on, std::this_thread::get_id());
  here.context().restart();
  here.context().poll();
  EXPECT_EQ(here.active_tasks(), 0U);
}

}  // namespace
}  // namespace infinicache::admin
