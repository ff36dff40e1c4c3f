// Where the bytes of a striped object lie: pure arithmetic, no bytes.
//
// An object is cut into rows (stripes) of d strips of `strip_bytes`; chunk i is the sequence of the
// i-th strips. All rows but the last are full. The last row (the tail) holds the remaining R bytes
// in strips of u = R/d rounded up, then up to a multiple of kStripAlignment; it fills them in
// order, so that its last data strips may be short or empty. A chunk stores the bytes that are
// there: a data strip without padding, a parity strip always u bytes. For coding, each data strip
// of a row counts as padded with zeros to the row's unit u.
//
//   object  | row 0: strip 0 | strip 1 | ... | strip d-1 | row 1: ... | tail: u | u | short | - |
//
// An object of 0 bytes has 0 rows; its chunks are empty.
//
// Thread-safety: an immutable value. Cost: 16 bytes; every function is O(1).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/limits.h"
#include "coding/code.h"

namespace infinicache::coding {

struct StripeLayout {
  std::uint64_t object_bytes = 0;
  std::uint32_t strip_bytes = kStripBytesMax;  // of a full row
  Code code;

  // Far above any object, and low enough that no sum below overflows.
  static constexpr std::uint64_t kObjectBytesMax = std::uint64_t{1} << 56;

  // REQUIRES: object_bytes <= kObjectBytesMax; IsValid(code); strip_bytes a positive multiple of
  // kStripAlignment.
  static StripeLayout For(std::uint64_t object_bytes, Code code,
                          std::uint32_t strip_bytes = kStripBytesMax);

  // Object bytes of a full row.
  constexpr std::uint64_t FullRowBytes() const { return std::uint64_t{code.data} * strip_bytes; }

  constexpr std::uint64_t rows() const { return DivideUp(object_bytes, FullRowBytes()); }

  // Offset in the object of the row's first byte. REQUIRES: row <= rows(); for rows() the answer
  // is at or beyond the object's end.
  constexpr std::uint64_t RowOffset(std::uint64_t row) const { return row * FullRowBytes(); }

  // The row that holds the object's byte `offset`. REQUIRES: offset < object_bytes.
  constexpr std::uint64_t RowOfOffset(std::uint64_t offset) const {
    return offset / FullRowBytes();
  }

  // Object bytes in the row. REQUIRES (here and below): row < rows().
  constexpr std::uint64_t RowBytes(std::uint64_t row) const {
    return std::min(FullRowBytes(), object_bytes - RowOffset(row));
  }

  // Bytes of each strip of the row as coded (u): a positive multiple of kStripAlignment, at most
  // strip_bytes. Data strip i of the row begins at RowOffset(row) + i * StripUnit(row).
  constexpr std::uint32_t StripUnit(std::uint64_t row) const {
    return static_cast<std::uint32_t>(RoundUp(DivideUp(RowBytes(row), code.data), kStripAlignment));
  }

  // Bytes that chunk `index` stores for the row: data chunks come first. May be 0 for a data strip
  // of the tail. REQUIRES: index < code.width().
  constexpr std::uint32_t StripBytes(std::uint64_t row, std::size_t index) const {
    const std::uint64_t unit = StripUnit(row);
    if (index >= code.data) return static_cast<std::uint32_t>(unit);
    const std::uint64_t begin = std::min(index * unit, RowBytes(row));
    return static_cast<std::uint32_t>(std::min(unit, RowBytes(row) - begin));
  }

  // Offset inside every chunk of its strip of the row (all rows before it are full).
  // REQUIRES: row <= rows().
  constexpr std::uint64_t ChunkOffset(std::uint64_t row) const { return row * strip_bytes; }

  // Bytes that chunk `index` stores in all. REQUIRES: index < code.width().
  constexpr std::uint64_t ChunkBytes(std::size_t index) const {
    if (object_bytes == 0) return 0;
    const std::uint64_t tail = rows() - 1;
    return ChunkOffset(tail) + StripBytes(tail, index);
  }

  // Sum of ChunkBytes over all chunks.
  constexpr std::uint64_t StoredBytes() const {
    if (code.parity == 0) return object_bytes;
    return object_bytes + code.parity * ChunkBytes(code.data);
  }

  friend constexpr bool operator==(const StripeLayout&, const StripeLayout&) = default;
};

}  // namespace infinicache::coding
