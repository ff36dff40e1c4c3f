// The lines of JSON between the local platform and its nodes, and what is noted of an instance for
// a server that takes it over.
//
// Thread-safety: free functions on values.
#pragma once

#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "platform/platform.h"

namespace infinicache::platform {

// {"port":40001,"instance":"00ab…","pid":7}; the port is 0 if it does not listen.
// Errors: kProtocol.
Result<Instance> ParseReadyLine(NodeId node, std::string_view line, bool listens);

// {"end":"00ab…"}: the session that has ended; 0 for anything else.
SessionId ParseReturnLine(std::string_view line);

// With its line feed.
std::string InvocationLine(const Invocation& invocation);

// An instance for who takes it over.
struct Description {
  Instance instance;
  std::string ready_line;
  bool is_primary = false;  // Platform::NotePrimary was called of it last
};
std::string DescribeInstance(NodeId node, std::string_view ready_line, bool is_primary);
// Errors: kProtocol (also: the instance was not ready yet).
Result<Description> ParseDescription(const std::string& text, bool listens);

}  // namespace infinicache::platform
