#include "base/resident_memory.h"

#include <fstream>
#include <string>

#include "base/bytes.h"

namespace infinicache {

std::uint64_t ResidentBytes() {
  std::ifstream status("/proc/self/status");
  std::uint64_t bytes = 0;
  for (std::string name; status >> name;) {
    std::uint64_t kib = 0;
    if ((name == "RssAnon:" || name == "RssFile:") && status >> kib) bytes += kib * kKiB;
  }
  return bytes;
}

}  // namespace infinicache
