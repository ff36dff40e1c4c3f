// The text of INFO.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace infinicache::proxy {

class Server;

// The named sections ("server", "memory", …; "all", "everything" and "default" as in Redis; none
// means the default ones), in the server's order. Unknown names are skipped. From any thread.
std::string DescribeServer(Server& server, std::span<const std::string_view> sections);

}  // namespace infinicache::proxy
