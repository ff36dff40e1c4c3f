#include "net/timer.h"

#include <utility>

namespace infinicache::net {

void Timer::Start(Duration delay, std::function<void()> function) {
  Cancel();
  wanted_ = std::make_shared<bool>(true);
  timer_.expires_after(delay);
  timer_.async_wait(
      [wanted = wanted_, function = std::move(function)](boost::system::error_code error) {
        if (!error && *wanted) function();
      });
}

void Timer::Cancel() {
  if (wanted_) *wanted_ = false;
  timer_.cancel();
}

}  // namespace infinicache::net
