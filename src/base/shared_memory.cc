#include "base/shared_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include "base/map_memory.h"
#include "base/unique_fd.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1
#endif

namespace infinicache {
namespace {

constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

}  // namespace

Result<SharedMemory> SharedMemory::Create(std::string_view name, std::uint64_t bytes) {
  UniqueFd fd(memfd_create(std::string(name).c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return tl::make_unexpected(ErrnoError("memfd_create", errno));
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0)
    return tl::make_unexpected(ErrnoError("ftruncate", errno));
  if (fcntl(fd.get(), F_ADD_SEALS, kSizeSeals) != 0)
    return tl::make_unexpected(ErrnoError("sealing shared memory", errno));
  std::byte* const data = MapSharedMemory(fd.get(), bytes);
  if (data == nullptr) return tl::make_unexpected(ErrnoError("mmap", errno));
  return SharedMemory(data, bytes, fd.Release());
}

Result<SharedMemory> SharedMemory::Open(int pid, int fd, std::string_view name) {
  const std::string path = fmt::format("/proc/{}/fd/{}", pid, fd);
  const UniqueFd opened(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!opened.valid()) return tl::make_unexpected(ErrnoError(path, errno));
  // Of what was opened, not of the path, which may lead to something else by now.
  std::array<char, 256> target{};
  const std::string link = fmt::format("/proc/self/fd/{}", opened.get());
  const ssize_t length = readlink(link.c_str(), target.data(), target.size());
  struct stat about{};
  const bool ours = length > 0 &&
                    std::string_view(target.data(), static_cast<std::size_t>(length)) ==
                        fmt::format("/memfd:{} (deleted)", name) &&
                    (fcntl(opened.get(), F_GET_SEALS) & kSizeSeals) == kSizeSeals &&
                    fstat(opened.get(), &about) == 0 && about.st_size > 0;
  if (!ours)
    return Fail(ErrorCode::kInvalidArgument, fmt::format("{} is not the memory {}", path, name));
  const auto bytes = static_cast<std::uint64_t>(about.st_size);
  std::byte* const data = MapSharedMemory(opened.get(), bytes);
  if (data == nullptr) return tl::make_unexpected(ErrnoError("mmap", errno));
  return SharedMemory(data, bytes, -1);
}

bool SharedMemory::Prefault(std::uint64_t offset, std::size_t bytes) const {
  std::byte* const begin = data_ + offset;
  // A huge page is made of what is there: of one small page at least.
  for (std::size_t at = 0; at + kHugePageBytes <= bytes; at += kHugePageBytes)
    PrefaultMemory(begin + at, kPageBytes);
  madvise(begin, bytes, MADV_COLLAPSE);
  return PrefaultMemory(begin, bytes);
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(other.bytes_),
      fd_(std::exchange(other.fd_, -1)) {}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) UnmapMemory(data_, bytes_);
  if (fd_ >= 0) close(fd_);
}

}  // namespace infinicache
