#include "base/memory_limit.h"

#include <sys/resource.h>

#include <cerrno>

namespace infinicache {
namespace {

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

}  // namespace

Status LimitMemory(std::uint64_t bytes) {
  if (kSanitized) return {};
  const rlimit limit{bytes, bytes};
  if (setrlimit(RLIMIT_DATA, &limit) == 0) return {};
  return tl::make_unexpected(ErrnoError("cannot limit the memory of the process", errno));
}

}  // namespace infinicache
