// Any bytes as the location of a chunk: no crash, and what decodes encodes to the same bytes.
#include "wire/chunk_location.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace infinicache::wire;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto location = ParseChunkLocation(bytes);
  if (!location) return 0;
  CHECK(EncodeChunkLocation(*location) == bytes);
  CHECK(location->EncodedBytes() == bytes.size());
  return 0;
}
