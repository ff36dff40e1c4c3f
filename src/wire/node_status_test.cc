#include "wire/node_status.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace infinicache::wire {
namespace {

// Properties are checked from a fixed seed unless the environment asks for another.
[[maybe_unused]] const int kSeedIsSet = setenv("RC_PARAMS", "seed=20240611", 0);

NodeStatus Sample() {
  return {.node = NodeId(0xA1A2A3A4),
          .instance = InstanceId(0xB1B2B3B4B5B6B7B8),
          .bytes_limit = 0xC1C2C3C4C5C6C7C8,
          .bytes_used = 0xD1D2D3D4D5D6D7D8,
          .chunks = 0xE1E2E3E4E5E6E7E8,
          .memory_pid = 0xF1F2F3F4,
          .memory_fd = 0x01020304};
}

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char byte : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return hex;
}

// The layout is a contract with other builds: these bytes never change.
TEST(NodeStatus, HasItsDocumentedLayout) {
  EXPECT_EQ(Hex(EncodeNodeStatus(Sample())),
            "02"
            "a4a3a2a1"
            "b8b7b6b5b4b3b2b1"
            "c8c7c6c5c4c3c2c1"
            "d8d7d6d5d4d3d2d1"
            "e8e7e6e5e4e3e2e1"
            "f4f3f2f1"
            "04030201");
}

RC_GTEST_PROP(NodeStatusProperty, ReadsBack, ()) {
  NodeStatus status;
  status.node = NodeId(*rc::gen::arbitrary<std::uint32_t>());
  status.instance = InstanceId(*rc::gen::arbitrary<std::uint64_t>());
  status.bytes_limit = *rc::gen::arbitrary<std::uint64_t>();
  status.bytes_used = *rc::gen::arbitrary<std::uint64_t>();
  status.chunks = *rc::gen::arbitrary<std::uint64_t>();
  status.memory_pid = *rc::gen::arbitrary<std::uint32_t>();
  status.memory_fd = *rc::gen::arbitrary<std::uint32_t>();
  const auto parsed = ParseNodeStatus(EncodeNodeStatus(status));
  RC_ASSERT(parsed.has_value());
  RC_ASSERT(*parsed == status);
}

TEST(NodeStatus, MemoryIsNamedForItsInstance) {
  EXPECT_EQ(MemoryName(InstanceId(0xABC)), "infinicache-node-0000000000000abc");
}

TEST(NodeStatus, RefusesEveryOtherLengthAndVersion) {
  const std::string good = EncodeNodeStatus(Sample());
  for (std::size_t length = 0; length < 2 * good.size(); ++length) {
    if (length == good.size()) continue;
    std::string bad = good + good;
    bad.resize(length);
    const auto parsed = ParseNodeStatus(bad);
    ASSERT_FALSE(parsed) << length << " bytes";
    EXPECT_EQ(parsed.error().code, ErrorCode::kProtocol);
  }
  for (const char version : {'\0', '\1', '\xFF'}) {
    std::string bad = good;
    bad[0] = version;
    const auto parsed = ParseNodeStatus(bad);
    ASSERT_FALSE(parsed) << "version " << static_cast<int>(version);
    EXPECT_EQ(parsed.error().code, ErrorCode::kProtocol);
  }
}

}  // namespace
}  // namespace infinicache::wire
