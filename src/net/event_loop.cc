#include "net/event_loop.h"

#include <pthread.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <exception>
#include <utility>

#include "base/check.h"
#include "net/notification.h"

namespace infinicache::net {

EventLoop::EventLoop(std::string name)
    : name_(std::move(name)), work_(boost::asio::make_work_guard(context_)), tick_(context_) {}

EventLoop::~EventLoop() {
  CHECK(!thread_.joinable(), "loop {} is still running", name_);
}

void EventLoop::Run() {
  context_.run();
}

void EventLoop::Start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
    Run();
  });
}

void EventLoop::Join() {
  if (thread_.joinable()) thread_.join();
}

void EventLoop::Stop() {
  context_.stop();
}

void EventLoop::Post(std::function<void()> function) {
  boost::asio::post(context_, std::move(function));
}

void EventLoop::Spawn(Task<> task) {
  boost::asio::co_spawn(context_, RunTracked(std::move(task)), [](std::exception_ptr error) {
    if (!error) return;
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& exception) {
      CHECK(false, "a task ended with an exception: {}", exception.what());
    }
  });
}

Task<> EventLoop::RunTracked(Task<> task) {
  ++active_tasks_;
  co_await std::move(task);
  --active_tasks_;
}

Task<> EventLoop::Sleep(Duration duration) {
  SteadyTimer timer(context_, duration);
  co_await timer.async_wait(kAsTuple);
}

void EventLoop::AddWaiter(Notification& waiter) {
  waiter.next_ = waiters_;
  waiter.previous_ = nullptr;
  if (waiters_ != nullptr) waiters_->previous_ = &waiter;
  waiters_ = &waiter;
  ArmTick();
}

void EventLoop::RemoveWaiter(Notification& waiter) {
  if (waiter.previous_ != nullptr) {
    waiter.previous_->next_ = waiter.next_;
  } else {
    waiters_ = waiter.next_;
  }
  if (waiter.next_ != nullptr) waiter.next_->previous_ = waiter.previous_;
  waiter.next_ = waiter.previous_ = nullptr;
}

void EventLoop::ArmTick() {
  if (tick_armed_) return;
  tick_armed_ = true;
  tick_.expires_after(kTick);
  tick_.async_wait([this](boost::system::error_code error) {
    tick_armed_ = false;
    if (!error) OnTick();
  });
}

void EventLoop::OnTick() {
  const TimePoint now = Now();
  for (Notification* waiter = waiters_; waiter != nullptr;) {
    Notification* next = waiter->next_;  // Complete takes `waiter` off the list
    if (waiter->deadline_ <= now) waiter->Complete(false);
    waiter = next;
  }
  if (waiters_ != nullptr) ArmTick();
}

}  // namespace infinicache::net
