// `infinicache status`, `nodes`, `where`, `events`, `doctor`, `cost` and `reclaim`: questions to a
// running server's admin interface.
//
// Each function asks on the calling thread, prints the answer (a text for people, or the server's
// JSON) and returns the exit code: kExitCannotConnect when nobody listens there, kExitTimeout,
// kExitDegraded when not all nodes are active, kExitNotFound when there is no such object.
#pragma once

#include <cstdint>
#include <string>

#include "net/socket.h"

namespace infinicache::app {

struct RemoteOptions {
  net::HostPort admin{"127.0.0.1", 6380};
  std::string timeout = "5s";
  bool json = false;
  std::string key;          // for ShowObject
  std::uint32_t node = 0;   // for ReclaimNode
  std::uint64_t after = 0;  // for ShowEvents: those with a higher number
  bool follow = false;      // for ShowEvents: goes on until the server ends or the user stops it
};

int ShowStatus(const RemoteOptions& options);
int ShowNodes(const RemoteOptions& options);
int ShowObject(const RemoteOptions& options);
// kExitDegraded if there are findings, kExitDataLoss if objects cannot be read.
int ShowDoctor(const RemoteOptions& options);
// With --json each event is a line of its own.
int ShowEvents(const RemoteOptions& options);
int ShowCost(const RemoteOptions& options);
int ReclaimNode(const RemoteOptions& options);

}  // namespace infinicache::app
