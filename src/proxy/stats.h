// What the RESP front counts. Added to from every loop, read by INFO and /metrics.
#pragma once

#include <string_view>

#include "base/histogram.h"

namespace infinicache::proxy {

struct CommandStats {
  std::string_view name;  // lower case
  Counter calls{0};
  Counter failed{0};  // answered with an error
  Counter micros{0};  // time spent, in microseconds
  LatencyHistogram latency;
};

struct ProxyStats {
  Counter connections_accepted{0};
  Counter connections_rejected{0};
  Counter net_input_bytes{0};
  Counter net_output_bytes{0};
  Counter commands{0};
  Counter error_replies{0};
};

}  // namespace infinicache::proxy
