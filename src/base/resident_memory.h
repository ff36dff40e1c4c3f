// What this process has in memory.
#pragma once

#include <cstdint>

namespace infinicache {

// Resident bytes without what it has mapped of other processes' memory (RssAnon and RssFile of
// /proc/self/status). 0 where /proc is not mounted. Cost: a file of /proc, some 20 µs.
std::uint64_t ResidentBytes();

}  // namespace infinicache
