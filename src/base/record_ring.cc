#include "base/record_ring.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>

#include "base/bytes.h"
#include "base/check.h"

namespace infinicache {
namespace {

constexpr std::size_t kLengthBytes = sizeof(std::uint32_t);
constexpr std::size_t kReadOffset = 64;
constexpr std::size_t kAlignment = 8;

std::uint64_t Load(std::uint64_t* counter, std::memory_order order) {
  return std::atomic_ref(*counter).load(order);
}

std::size_t BytesOf(std::size_t record_bytes) {
  return RoundUp(kLengthBytes + record_bytes, kAlignment);
}

}  // namespace

RecordRing::RecordRing(std::span<std::byte> memory)
    : written_(reinterpret_cast<std::uint64_t*>(memory.data())),
      read_(reinterpret_cast<std::uint64_t*>(memory.data() + kReadOffset)),
      data_(memory.subspan(kHeaderBytes)) {
  CHECK(std::has_single_bit(data_.size()) && data_.size() >= 64);
  CHECK(reinterpret_cast<std::uintptr_t>(memory.data()) % kReadOffset == 0);
}

bool RecordRing::Write(std::string_view record) {
  CHECK(!record.empty() && record.size() <= record_bytes_max());
  const std::uint64_t written = Load(written_, std::memory_order_relaxed);
  const std::uint64_t used = written - Load(read_, std::memory_order_acquire);
  const std::size_t bytes = BytesOf(record.size());
  // A reader that claims more than was written is not one to write for.
  if (used > data_.size() || bytes > data_.size() - used) return false;
  const auto length =
      std::bit_cast<std::array<char, kLengthBytes>>(static_cast<std::uint32_t>(record.size()));
  CopyIn(written, {length.data(), length.size()});
  CopyIn(written + kLengthBytes, record);
  std::atomic_ref(*written_).store(written + bytes, std::memory_order_release);
  return true;
}

Result<std::optional<std::string>> RecordRing::Read() {
  const std::uint64_t read = Load(read_, std::memory_order_relaxed);
  const std::uint64_t used = Load(written_, std::memory_order_acquire) - read;
  if (used == 0) return std::nullopt;
  std::array<char, kLengthBytes> length_bytes{};
  CopyOut(read, length_bytes);
  const auto length = std::bit_cast<std::uint32_t>(length_bytes);
  if (used > data_.size() || length == 0 || length > record_bytes_max() || BytesOf(length) > used)
    return Fail(ErrorCode::kProtocol,
                fmt::format("a ring with {} bytes in use has a record of {}", used, length));
  std::string record(length, '\0');
  CopyOut(read + kLengthBytes, record);
  std::atomic_ref(*read_).store(read + BytesOf(length), std::memory_order_release);
  return record;
}

void RecordRing::Clear() {
  std::atomic_ref(*read_).store(Load(written_, std::memory_order_acquire),
                                std::memory_order_release);
}

bool RecordRing::empty() const {
  return Load(written_, std::memory_order_acquire) == Load(read_, std::memory_order_relaxed);
}

void RecordRing::CopyIn(std::uint64_t at, std::string_view bytes) {
  const std::size_t begin = at % data_.size();
  const std::size_t first = std::min(bytes.size(), data_.size() - begin);
  std::memcpy(data_.data() + begin, bytes.data(), first);
  std::memcpy(data_.data(), bytes.data() + first, bytes.size() - first);
}

void RecordRing::CopyOut(std::uint64_t at, std::span<char> out) const {
  const std::size_t begin = at % data_.size();
  const std::size_t first = std::min(out.size(), data_.size() - begin);
  std::memcpy(out.data(), data_.data() + begin, first);
  std::memcpy(out.data() + first, data_.data(), out.size() - first);
}

}  // namespace infinicache
