#include "base/memory_limit.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"

namespace infinicache {
namespace {

// Whether `bytes` can be mapped.
bool Maps(std::size_t bytes) {
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  munmap(memory, bytes);
  return true;
}

TEST(LimitMemory, TheKernelRefusesWhatIsBeyond) {
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  GTEST_SKIP() << "does nothing under sanitizers";
#endif
  ASSERT_TRUE(Maps(2 * kGiB));
  const pid_t child = fork();
  if (child == 0) _exit(LimitMemory(kGiB) && Maps(256 * kMiB) && !Maps(2 * kGiB) ? 0 : 1);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace infinicache
