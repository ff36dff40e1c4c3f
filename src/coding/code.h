// A code d+p: d data chunks and p parity chunks, any d of which give the object back.
//
// The operator sets the full code; ChooseCode gives small objects fewer data chunks, because each
// chunk of a request costs CPU however small it is. The chosen code is recorded per object.
//
// Thread-safety: values; no shared state. Cost: two bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace infinicache::coding {

struct Code {
  std::uint8_t data = 10;   // d, at least 1; d = 1 is replication
  std::uint8_t parity = 2;  // p, may be 0: no protection

  // Chunks per object, d + p.
  constexpr std::size_t width() const { return std::size_t{data} + parity; }

  // "10+2"; ParseCode reads it back.
  std::string ToString() const;

  friend constexpr bool operator==(const Code&, const Code&) = default;
};

// True if d >= 1 and d + p <= kCodeWidthMax. Everything in this module requires it.
bool IsValid(Code code);

// Reads "10+2". Errors: kInvalidArgument, with the text, the reason and an example.
Result<Code> ParseCode(std::string_view text);

// Where the code by size changes. A chunk costs at least 5.7 µs of CPU per request (a message each
// way and the node's wake-up), up to 20 µs where the nodes' caches are cold; a byte that is stored
// once more costs a write about 0.18 ns, and room. So d = 1 with p = 2 instead of 10+2 saves 9
// chunks (51 µs at least) and stores 1.8 bytes more per byte: even at 160 KB. d = 4 saves 6 chunks
// (34 to 120 µs) for 0.3 bytes more per byte: even at 0.6 to 2.2 MB. Reads, which pay no extra
// bytes, gain at any size below. The limits are inclusive.
inline constexpr std::uint64_t kReplicatedBytesMax = 128 * kKiB;
inline constexpr std::uint64_t kMiddleCodeBytesMax = kMiB;
inline constexpr std::uint8_t kMiddleCodeData = 4;

// The code for an object of `object_bytes` when the operator's code is `full`: the same p, and
// never more data chunks than `full` has.
Code ChooseCode(Code full, std::uint64_t object_bytes);

}  // namespace infinicache::coding
