// `infinicache status`, `nodes` and `where`: questions to a running server's admin interface.
//
// Each function asks on the calling thread, prints the answer (a text for people, or the server's
// JSON) and returns the exit code: kExitCannotConnect when nobody listens there, kExitTimeout,
// kExitDegraded when not all nodes are active, kExitNotFound when there is no such object.
#pragma once

#include <string>

#include "net/socket.h"

namespace infinicache::app {

struct RemoteOptions {
  net::HostPort admin{"127.0.0.1", 6380};
  std::string timeout = "5s";
  bool json = false;
  std::string key;  // for ShowObject
};

int ShowStatus(const RemoteOptions& options);
int ShowNodes(const RemoteOptions& options);
int ShowObject(const RemoteOptions& options);

}  // namespace infinicache::app
