#include "net/timer.h"

#include <utility>

namespace infinicache::net {

void Timer::Start(Duration delay, std::function<void()> function) {
  timer_.expires_after(delay);
  timer_.async_wait([function = std::move(function)](boost::system::error_code error) {
    if (!error) function();
  });
}

}  // namespace infinicache::net
