// A queue of records in memory that two processes map: one thread of one writes, one thread of the
// other reads, and neither waits for the other or makes a system call.
//
// The memory holds two counters of bytes, each on a cache line of its own, and the bytes:
//
//     0 u64 written    64 u64 read    128 …  the records: u32 length, and so many bytes
//
// Records are padded to 8 bytes, and go on at the start where the end cuts them. A record counts
// when `written` does: a writer that dies in the middle of one has written nothing. Memory that is
// all zeros is an empty ring, and what a ring holds outlives its writer.
//
// Whoever reads does not trust what is there: a length or counter that cannot be is kProtocol.
//
// Thread-safety: one writer and one reader, each with a RecordRing of its own over the same memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace infinicache {

class RecordRing {
 public:
  static constexpr std::size_t kHeaderBytes = 128;

  // REQUIRES: `memory` is aligned to 64 bytes and outlives the ring; behind the header it has a
  // power of two of bytes, at least 64.
  explicit RecordRing(std::span<std::byte> memory);

  // The largest record there can be: half of the ring.
  std::size_t record_bytes_max() const { return data_.size() / 2; }
  // False if there is no room now. REQUIRES: 0 < record.size() <= record_bytes_max().
  bool Write(std::string_view record);

  // The next record, or none. Errors: kProtocol; it stays so until Clear.
  Result<std::optional<std::string>> Read();
  // For the reader: drops what was written so far, readable or not.
  void Clear();
  bool empty() const;

 private:
  void CopyIn(std::uint64_t at, std::string_view bytes);
  void CopyOut(std::uint64_t at, std::span<char> out) const;

  std::uint64_t* written_;
  std::uint64_t* read_;
  std::span<std::byte> data_;
};

}  // namespace infinicache
