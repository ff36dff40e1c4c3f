// For tests and benchmarks of this module: a row of strips in one aligned allocation, as far apart
// as they are long, which is how the buffer pool lays them out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "base/limits.h"
#include "base/random.h"

namespace infinicache::coding {

class StripsForTest {
 public:
  // `bytes` a multiple of kStripAlignment. Zeroed.
  StripsForTest(std::size_t count, std::size_t bytes) : bytes_(bytes) {
    memory_.reset(new (std::align_val_t{4096}) std::byte[count * bytes + 1]{});
    for (std::size_t i = 0; i < count; ++i) pointers_.push_back(memory_.get() + i * bytes);
  }

  std::size_t bytes() const { return bytes_; }
  std::span<std::byte* const> all() const { return pointers_; }
  std::span<std::byte* const> from(std::size_t i) const { return all().subspan(i); }
  std::span<const std::byte* const> first(std::size_t count) const {
    return std::span<const std::byte* const>(pointers_.data(), count);
  }
  std::span<std::byte> strip(std::size_t i) const { return {pointers_[i], bytes_}; }

  void Fill(std::size_t i, Random& random) {
    for (std::size_t at = 0; at < bytes_; at += 8) {
      const std::uint64_t word = random();
      std::memcpy(pointers_[i] + at, &word, 8);
    }
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const {
      ::operator delete[](memory, std::align_val_t{4096});
    }
  };

  std::size_t bytes_;
  std::unique_ptr<std::byte[], Free> memory_;
  std::vector<std::byte*> pointers_;
};

}  // namespace infinicache::coding
