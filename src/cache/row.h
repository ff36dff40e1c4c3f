// One stripe of an object in the proxy's memory: d data strips and p parity strips, side by side.
//
// Rows are shared between a request and the links that send or receive its strips; the memory goes
// back to the worker's pool and budget when the last of them lets go. Used on one event loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/buffer_pool.h"
#include "base/limits.h"
#include "cache/worker.h"
#include "net/notification.h"

namespace infinicache::cache {

// How many of a request's rows are alive.
struct RowWindow {
  explicit RowWindow(net::EventLoop& loop) : changed(loop) {}
  std::size_t rows = 0;
  net::Notification changed;
};

class Row {
 public:
  // Bytes of memory that a row takes from the budget: those of its buffer.
  static std::size_t Cost(std::size_t strips, std::uint32_t unit) {
    return BufferPool::SizeFor(kStripPageOffset + strips * unit);
  }

  // REQUIRES: Cost(strips, unit) was acquired from the worker's budget; the row gives it back.
  Row(Worker& worker, std::shared_ptr<RowWindow> window, std::uint64_t index, std::size_t strips,
      std::uint32_t unit)
      : worker_(worker),
        window_(std::move(window)),
        cost_(Cost(strips, unit)),
        buffer_(worker.buffers().Allocate(cost_)),
        index_(index),
        unit_(unit) {
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
  std::byte* strip(std::size_t i) const { return buffer_.data() + kStripPageOffset + i * unit_; }

 private:
  Worker& worker_;
  std::shared_ptr<RowWindow> window_;
  std::size_t cost_;
  Buffer buffer_;
  std::uint64_t index_;
  std::uint32_t unit_;
};

}  // namespace infinicache::cache
