// Who is the parent of the local platform's nodes, by the setting `node-survival`: this server, or
// a guard that keeps them when the server crashes.
//
// Thread-safety: none; blocks while nodes of another shape are ended.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "app/settings.h"
#include "platform/local/guarded_processes.h"

namespace infinicache::app {

struct NodeHost {
  std::unique_ptr<platform::ProcessHost> processes;  // null: the server itself
  std::string secret;                                // of the pool
  std::vector<platform::Survivor> survivors;         // of a server that has crashed
};

// `node_program`: path of infinicache-node.
NodeHost MakeNodeHost(const Settings& settings, const std::string& node_program,
                      std::string_view version);

// What a server must have in common with one that crashed to go on with its nodes: whatever nodes
// are started with, and what the pool takes for granted of them.
platform::GuardedProcesses::Shape PoolShape(const Settings& settings, std::string_view version);

}  // namespace infinicache::app
