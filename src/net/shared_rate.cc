#include "net/shared_rate.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"

namespace infinicache::net {
namespace {

using Number = std::atomic<std::int64_t>;
static_assert(Number::is_always_lock_free, "it is shared between processes");

std::int64_t Nanoseconds(TimePoint time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

}  // namespace

Result<int> SharedRate::CreateMemory() {
  const int fd = memfd_create("infinicache-host-bandwidth", MFD_CLOEXEC);
  if (fd < 0) return tl::make_unexpected(ErrnoError("memfd_create", errno));
  if (ftruncate(fd, sizeof(Number)) != 0) {
    const int error_number = errno;
    close(fd);
    return tl::make_unexpected(ErrnoError("ftruncate", error_number));
  }
  return fd;
}

Result<std::shared_ptr<SharedRate>> SharedRate::Open(int fd, std::uint64_t bytes_per_second) {
  CHECK(bytes_per_second > 0);
  struct stat about{};
  if (fstat(fd, &about) != 0 || about.st_size < static_cast<off_t>(sizeof(Number)))
    return Fail(ErrorCode::kInvalidArgument, "not the memory of a shared bandwidth");
  void* const memory = mmap(nullptr, sizeof(Number), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return tl::make_unexpected(ErrnoError("mmap", errno));
  return std::shared_ptr<SharedRate>(
      new SharedRate(static_cast<Number*>(memory), bytes_per_second));
}

SharedRate::~SharedRate() {
  munmap(paid_at_, sizeof(Number));
}

void SharedRate::Pay(std::uint64_t bytes, TimePoint now) {
  const double seconds = static_cast<double>(bytes) / static_cast<double>(bytes_per_second_);
  const auto price = static_cast<std::int64_t>(seconds * 1e9);
  const std::int64_t earliest = Nanoseconds(now - kBurst);
  std::int64_t paid_at = paid_at_->load(std::memory_order_relaxed);
  while (!paid_at_->compare_exchange_weak(paid_at, std::max(paid_at, earliest) + price,
                                          std::memory_order_relaxed)) {
  }
}

Duration SharedRate::Debt(TimePoint now) const {
  const std::int64_t ahead = paid_at_->load(std::memory_order_relaxed) - Nanoseconds(now);
  return Duration(std::chrono::nanoseconds(std::max<std::int64_t>(ahead, 0)));
}

}  // namespace infinicache::net
