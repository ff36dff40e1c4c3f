#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace infinicache::internal {

void CheckFailed(const char* expression, const char* file, int line, const std::string& detail) {
  std::fprintf(stderr, "CHECK failed: %s at %s:%d%s%s\n", expression, file, line,
               detail.empty() ? "" : ": ", detail.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace infinicache::internal
