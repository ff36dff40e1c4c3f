// The Prometheus text exposition (format 0.0.4) of a SystemView.
//
// Names are infinicache_<noun>_<unit>[_total]. Labels are bounded: command (the command table),
// node (the pool's size), loop, state, result, cause, kind, price. A command's latency histogram
// appears with its first call, the warm-up's interval only where nodes are warmed up; all other
// series exist from the start.
#pragma once

#include <string>

#include "admin/system_view.h"

namespace infinicache::admin {

inline constexpr char kMetricsContentType[] = "text/plain; version=0.0.4; charset=utf-8";

std::string RenderMetrics(const SystemView& view);

}  // namespace infinicache::admin
