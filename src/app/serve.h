// `infinicache serve`: one proxy with its nodes, from start to stop.
//
//   main thread   control loop: signals, platform, pool, admin HTTP, accepting clients
//   N threads     data loops: clients and the links that their requests use
//
// The calling thread becomes the control loop's and must be the process's main thread (nodes die
// with it, see platform/local/local_platform.h).
#pragma once

#include <string>
#include <string_view>

#include "app/settings.h"
#include "base/result.h"

namespace infinicache::app {

// Runs until SIGTERM, SIGINT or a client's SHUTDOWN, then ends clients and nodes in order and
// returns. A second signal ends the process at once. `loaded` has no problems. Errors (start-up
// only, each with its remedy): kUnavailable (an address is in use), kNotFound (no node program),
// kInvalidArgument (a host does not resolve, a file of the settings cannot be used).
Status Serve(const LoadedSettings& loaded, std::string_view version);

}  // namespace infinicache::app
