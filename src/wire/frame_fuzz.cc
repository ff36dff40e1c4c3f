// Any bytes as a frame header and as chunk metadata: no crash, and what decodes encodes to the same
// bytes. The header's checksum is repaired first, or the fuzzer would never get past it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/check.h"
#include "wire/frame.h"
#include "wire/frame_for_fuzz.h"

namespace infinicache::wire {
namespace {

void FuzzHeader(std::string_view data) {
  HeaderBytes bytes{};
  std::copy_n(std::as_bytes(std::span(data)).begin(), std::min(data.size(), bytes.size()),
              bytes.begin());
  (void)DecodeFrameHeader(bytes);
  bytes = HeaderBytesForFuzz(data);
  const auto header = DecodeFrameHeader(bytes);
  if (!header) return;
  HeaderBytes encoded;
  EncodeFrameHeader(*header, encoded);
  CHECK(encoded == bytes);
}

void FuzzMeta(std::string_view data) {
  const auto meta = ParseChunkMeta(data);
  if (!meta) return;
  std::string encoded;
  AppendChunkMeta(*meta, encoded);
  CHECK(encoded == data);
}

}  // namespace
}  // namespace infinicache::wire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  infinicache::wire::FuzzHeader(bytes);
  infinicache::wire::FuzzMeta(bytes);
  return 0;
}
