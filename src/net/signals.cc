#include "net/signals.h"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <utility>

namespace infinicache::net {

struct SignalWatch::State : std::enable_shared_from_this<State> {
  State(EventLoop& loop, std::function<void(int)> f)
      : signals(loop.context()), function(std::move(f)) {}

  void Wait() {
    signals.async_wait([self = shared_from_this()](boost::system::error_code error, int signal) {
      if (error || self->closed) return;
      self->Wait();
      self->function(signal);
    });
  }

  boost::asio::signal_set signals;
  std::function<void(int)> function;
  bool closed = false;
};

SignalWatch::SignalWatch(EventLoop& loop, std::initializer_list<int> signals,
                         std::function<void(int)> function)
    : state_(std::make_shared<State>(loop, std::move(function))) {
  for (int signal : signals) state_->signals.add(signal);
  state_->Wait();
}

SignalWatch::~SignalWatch() {
  state_->closed = true;
  boost::system::error_code ignored;
  state_->signals.cancel(ignored);
}

struct ReadWatch::State : std::enable_shared_from_this<State> {
  State(EventLoop& loop, int fd, std::function<void()> f)
      : descriptor(loop.context(), fd), function(std::move(f)) {}

  void Wait() {
    descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                          [self = shared_from_this()](boost::system::error_code error) {
                            if (error || self->closed) return;
                            self->function();
                            if (!self->closed) self->Wait();
                          });
  }

  boost::asio::posix::stream_descriptor descriptor;
  std::function<void()> function;
  bool closed = false;
};

ReadWatch::ReadWatch(EventLoop& loop, int fd, std::function<void()> function)
    : state_(std::make_shared<State>(loop, fd, std::move(function))) {
  state_->Wait();
}

ReadWatch::~ReadWatch() {
  state_->closed = true;
  boost::system::error_code ignored;
  state_->descriptor.close(ignored);
}

}  // namespace infinicache::net
