// What tests of frames share.
#pragma once

#include <gtest/gtest.h>

#include <array>

#include "wire/frame.h"

namespace infinicache::wire {

// The header as its receiver has it.
inline FrameHeader OverTheWire(const FrameHeader& header) {
  std::array<std::byte, kFrameHeaderBytes> bytes;
  EncodeFrameHeader(header, bytes);
  const auto decoded = DecodeFrameHeader(bytes);
  EXPECT_TRUE(decoded);
  return decoded.value_or(FrameHeader{});
}

}  // namespace infinicache::wire
