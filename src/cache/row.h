// One stripe of an object: d data strips and p parity strips. They are side by side in the proxy's
// memory, but for those that have memory of their own, lent by the nodes that they are for.
//
// Rows are shared between a request and the links that send or receive its strips; the memory goes
// back to the worker's pool and budget when the last of them lets go. Used on one event loop.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/buffer_pool.h"
#include "base/limits.h"
#include "cache/worker.h"
#include "net/notification.h"
#include "pool/lent_memory.h"

namespace infinicache::cache {

// How many of a request's rows are alive.
struct RowWindow {
  explicit RowWindow(net::EventLoop& loop) : changed(loop) {}
  std::size_t rows = 0;
  net::Notification changed;
};

class Row {
 public:
  // By strip; null: it is in the row's own memory.
  using LentRanges = std::array<std::shared_ptr<pool::LentRange>, kCodeWidthMax>;

  // Bytes of memory that a row takes from the budget: those of its buffer.
  static std::size_t Cost(std::size_t own_strips, std::uint32_t unit) {
    if (own_strips == 0) return 0;
    return BufferPool::SizeFor(kStripPageOffset + own_strips * unit);
  }

  // REQUIRES: Cost(strips, unit), without those that are lent, was acquired from the worker's
  // budget; the row gives it back.
  Row(Worker& worker, std::shared_ptr<RowWindow> window, std::uint64_t index, std::size_t strips,
      std::uint32_t unit, LentRanges lent = {})
      : worker_(worker),
        window_(std::move(window)),
        lent_(std::move(lent)),
        cost_(Cost(strips - CountLent(lent_), unit)),
        index_(index),
        unit_(unit) {
    if (cost_ > 0) buffer_ = worker.buffers().Allocate(cost_);
    std::byte* own = cost_ > 0 ? buffer_.data() + kStripPageOffset : nullptr;
    for (std::size_t i = 0; i < strips; ++i) {
      strips_[i] = lent_[i] != nullptr ? lent_[i]->data() : own;
      if (lent_[i] == nullptr) own += unit;
    }
    ++window_->rows;
  }
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;
  ~Row() {
    buffer_.Reset();
    // Rows come in many sizes; what lies idle in one must not add to what another needs.
    worker_.buffers().Trim(worker_.budget().limit());
    worker_.budget().Release(cost_);
    --window_->rows;
    window_->changed.Notify();
  }

  std::uint64_t index() const { return index_; }
  std::uint32_t unit() const { return unit_; }
  std::byte* strip(std::size_t i) const { return strips_[i]; }
  // CRC32C of the strip's bytes, once it was summed.
  std::uint32_t crc(std::size_t i) const { return crcs_[i]; }
  void set_crc(std::size_t i, std::uint32_t crc) { crcs_[i] = crc; }
  const std::shared_ptr<pool::LentRange>& lent(std::size_t i) const { return lent_[i]; }
  static std::size_t CountLent(const LentRanges& lent) {
    return static_cast<std::size_t>(std::count_if(
        lent.begin(), lent.end(), [](const auto& strip) { return strip != nullptr; }));
  }

 private:
  Worker& worker_;
  std::shared_ptr<RowWindow> window_;
  LentRanges lent_;
  std::array<std::byte*, kCodeWidthMax> strips_{};
  std::array<std::uint32_t, kCodeWidthMax> crcs_{};
  std::size_t cost_;
  Buffer buffer_;
  std::uint64_t index_;
  std::uint32_t unit_;
};

}  // namespace infinicache::cache
