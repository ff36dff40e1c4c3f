// For fuzz targets: frames of any bytes.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "wire/frame.h"
#include "wire/header_crc.h"

namespace infinicache::wire {

using HeaderBytes = std::array<std::byte, kFrameHeaderBytes>;

// The first bytes as those of a header, with the checksum that they should have, or no fuzzer would
// ever get past it.
inline HeaderBytes HeaderBytesForFuzz(std::string_view data) {
  HeaderBytes bytes{};
  const auto begin = std::as_bytes(std::span(data));
  std::copy_n(begin.begin(), std::min(begin.size(), bytes.size()), bytes.begin());
  const std::uint32_t crc = HeaderCrc32c(std::span(bytes).first<60>());
  for (std::size_t i = 0; i < 4; ++i) bytes[60 + i] = static_cast<std::byte>(crc >> (8 * i));
  return bytes;
}

inline Result<FrameHeader> HeaderForFuzz(std::string_view data) {
  return DecodeFrameHeader(HeaderBytesForFuzz(data));
}

// What follows the header.
inline std::string_view MetaForFuzz(std::string_view data) {
  return data.substr(std::min(data.size(), kFrameHeaderBytes));
}

}  // namespace infinicache::wire
