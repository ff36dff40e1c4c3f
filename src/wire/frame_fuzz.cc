// Any bytes as a frame header and as chunk metadata: no crash, and what decodes encodes to the same
// bytes. The header's checksum is repaired first, or the fuzzer would never get past it.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/check.h"
#include "wire/frame.h"
#include "wire/header_crc.h"

namespace infinicache::wire {
namespace {

void FuzzHeader(std::span<const std::byte> data) {
  std::array<std::byte, kFrameHeaderBytes> bytes{};
  std::copy_n(data.begin(), std::min(data.size(), bytes.size()), bytes.begin());
  (void)DecodeFrameHeader(bytes);
  const std::uint32_t crc = HeaderCrc32c(std::span(bytes).first<60>());
  for (std::size_t i = 0; i < 4; ++i) bytes[60 + i] = static_cast<std::byte>(crc >> (8 * i));
  const auto header = DecodeFrameHeader(bytes);
  if (!header) return;
  std::array<std::byte, kFrameHeaderBytes> encoded;
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
  infinicache::wire::FuzzHeader(std::as_bytes(std::span(data, size)));
  infinicache::wire::FuzzMeta({reinterpret_cast<const char*>(data), size});
  return 0;
}
