#include "pool/node_memory.h"

#include <chrono>
#include <utility>

#include "base/log.h"

namespace infinicache::pool {

std::shared_ptr<const SharedMemory> NodeMemory::Map(const wire::NodeStatus& status) {
  if (status.memory_pid == 0) return nullptr;
  const std::lock_guard lock(mutex_);
  if (instance_ == status.instance) {
    if (auto mapped = mapped_.lock()) return mapped;
  }
  auto opened =
      SharedMemory::Open(static_cast<int>(status.memory_pid), static_cast<int>(status.memory_fd),
                         wire::MemoryName(status.instance));
  if (!opened) {
    LOG_WARN_EVERY(std::chrono::minutes(1),
                   "the memory of node {} cannot be mapped, its chunks are read over its link: {}",
                   status.node.value(), opened.error().message);
    return nullptr;
  }
  auto mapped = std::make_shared<const SharedMemory>(std::move(*opened));
  instance_ = status.instance;
  mapped_ = mapped;
  return mapped;
}

}  // namespace infinicache::pool
