#include "base/shared_memory.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/map_memory.h"

namespace infinicache {
namespace {

TEST(SharedMemory, OthersReadWhatItsCreatorWrites) {
  const auto memory = SharedMemory::Create("test-memory-1", kMiB);
  ASSERT_TRUE(memory) << memory.error().message;
  EXPECT_EQ(memory->bytes(), kMiB);
  const auto opened = SharedMemory::Open(getpid(), memory->fd(), "test-memory-1");
  ASSERT_TRUE(opened) << opened.error().message;
  ASSERT_EQ(opened->bytes(), kMiB);
  EXPECT_NE(opened->data(), memory->data());
  EXPECT_EQ(opened->fd(), -1);
  std::memcpy(memory->data() + kMiB - 5, "hello", 5);
  EXPECT_EQ(std::memcmp(opened->data() + kMiB - 5, "hello", 5), 0);
}

TEST(SharedMemory, OutlivesItsCreator) {
  int to_parent[2];
  int to_child[2];
  ASSERT_EQ(pipe(to_parent), 0);
  ASSERT_EQ(pipe(to_child), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto memory = SharedMemory::Create("test-memory-2", 64 * kKiB);
    if (!memory) _exit(1);
    std::memcpy(memory->data(), "still here", 10);
    const int fd = memory->fd();
    if (write(to_parent[1], &fd, sizeof fd) != sizeof fd) _exit(1);
    close(to_child[1]);
    char byte = 0;
    _exit(read(to_child[0], &byte, 1) == 0 ? 0 : 1);
  }
  int fd = -1;
  ASSERT_EQ(read(to_parent[0], &fd, sizeof fd), static_cast<ssize_t>(sizeof fd));
  const auto opened = SharedMemory::Open(child, fd, "test-memory-2");
  close(to_child[1]);
  int status = 1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(std::memcmp(opened->data(), "still here", 10), 0);
  for (const int end : {to_parent[0], to_parent[1], to_child[0]}) close(end);
}

// Of the mapping that begins at `data`, in bytes.
std::uint64_t MappedAsHugePages(const std::byte* data) {
  std::ifstream maps("/proc/self/smaps");
  const std::string begin = fmt::format("{:x}-", reinterpret_cast<std::uintptr_t>(data));
  std::string line;
  while (std::getline(maps, line) && !line.starts_with(begin)) {
  }
  while (std::getline(maps, line)) {
    if (line.starts_with("ShmemPmdMapped:")) return std::stoull(line.substr(15)) * kKiB;
  }
  return 0;
}

TEST(SharedMemory, PrefaultKeepsWhatIsThereAndMakesHugePagesForAllThatMapIt) {
  const auto memory = SharedMemory::Create("test-memory-5", 2 * kHugePageBytes);
  ASSERT_TRUE(memory) << memory.error().message;
  const auto opened = SharedMemory::Open(getpid(), memory->fd(), "test-memory-5");
  ASSERT_TRUE(opened) << opened.error().message;
  std::memcpy(opened->data() + kHugePageBytes, "hello", 5);
  ASSERT_TRUE(memory->Prefault(kHugePageBytes, kHugePageBytes));
  EXPECT_EQ(std::memcmp(memory->data() + kHugePageBytes, "hello", 5), 0);
  std::memcpy(opened->data() + kHugePageBytes + kMiB, "there", 5);
  EXPECT_EQ(std::memcmp(memory->data() + kHugePageBytes + kMiB, "there", 5), 0);
  const std::uint64_t huge = MappedAsHugePages(memory->data());
  if (huge == 0) GTEST_SKIP() << "this kernel makes no huge pages of shared memory, or has none";
  EXPECT_EQ(huge, kHugePageBytes);
  EXPECT_EQ(MappedAsHugePages(opened->data()), kHugePageBytes);
}

TEST(SharedMemory, NothingElseIsTakenForIt) {
  const auto memory = SharedMemory::Create("test-memory-3", kMiB);
  ASSERT_TRUE(memory);
  EXPECT_EQ(SharedMemory::Open(getpid(), memory->fd(), "test-memory-4").error().code,
            ErrorCode::kInvalidArgument);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(SharedMemory::Open(getpid(), ends[0], "test-memory-3").error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_FALSE(SharedMemory::Open(getpid(), 1'000'000, "test-memory-3"));
  close(ends[0]);
  close(ends[1]);
}

TEST(SharedMemory, ItsSizeIsSealed) {
  const auto memory = SharedMemory::Create("test-memory-5", kMiB);
  ASSERT_TRUE(memory);
  EXPECT_NE(ftruncate(memory->fd(), 0), 0);
  EXPECT_NE(ftruncate(memory->fd(), 2 * kMiB), 0);
}

TEST(SharedMemory, MovesWithoutBeingUnmapped) {
  auto memory = SharedMemory::Create("test-memory-6", kMiB);
  ASSERT_TRUE(memory);
  std::byte* const data = memory->data();
  const SharedMemory moved = std::move(*memory);
  EXPECT_EQ(moved.data(), data);
  moved.data()[0] = std::byte{1};
}

}  // namespace
}  // namespace infinicache
