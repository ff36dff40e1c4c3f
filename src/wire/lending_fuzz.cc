// Any bytes as a record of a stored chunk, and as ranges of memory: no crash, and what decodes
// encodes to the same bytes.
#include "wire/lending.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace infinicache::wire;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto stored = ParseStoredChunk(bytes))
    CHECK(EncodeStoredChunk(stored->chunk, stored->meta, stored->location) == bytes);
  if (const auto ranges = ParseMemoryRanges(bytes)) CHECK(EncodeMemoryRanges(*ranges) == bytes);
  return 0;
}
