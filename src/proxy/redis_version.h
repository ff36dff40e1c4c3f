// The Redis release whose behaviour the RESP front follows; clients choose commands by it.
#pragma once

#include <string_view>

namespace infinicache::proxy {

inline constexpr std::string_view kRedisVersion = "7.0.15";

}  // namespace infinicache::proxy
