#include "wire/frame.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>

#include "wire/header_crc.h"

namespace infinicache::wire {
namespace {

using ::testing::HasSubstr;
using HeaderBytes = std::array<std::byte, kFrameHeaderBytes>;

// Properties are checked from a fixed seed unless the environment asks for another.
[[maybe_unused]] const int kSeedIsSet = setenv("RC_PARAMS", "seed=20240611", 0);

FrameHeader Sample() {
  return {.type = FrameType::kPut,
          .flags = kFlagFirst | kFlagLast,
          .status = ErrorCode::kNotFound,
          .payload_bytes = 0x00020123,
          .meta_bytes = 0x0123,
          .request = 0x1122334455667788,
          .chunk = {ObjectId(0xA1A2A3A4A5A6A7A8), Version(0xB1B2B3B4B5B6B7B8), 0xC1C2},
          .offset = 0xD1D2D3D4D5D6D7D8,
          .length = 0x01E2E3E4E5E6E7E8,
          .payload_crc = 0xF1F2F3F4};
}

HeaderBytes Encode(const FrameHeader& header) {
  HeaderBytes bytes;
  EncodeFrameHeader(header, bytes);
  return bytes;
}

std::string Hex(std::span<const std::byte> bytes) {
  std::string hex;
  for (const std::byte byte : bytes) hex += fmt::format("{:02x}", std::to_integer<int>(byte));
  return hex;
}

// The message for a header whose bytes were changed by `change` and whose checksum is right.
std::string ErrorAfter(const std::function<void(HeaderBytes&)>& change) {
  HeaderBytes bytes = Encode(Sample());
  change(bytes);
  const std::uint32_t crc = HeaderCrc32c(std::span(bytes).first<60>());
  for (std::size_t i = 0; i < 4; ++i) bytes[60 + i] = static_cast<std::byte>(crc >> (8 * i));
  const auto header = DecodeFrameHeader(bytes);
  if (header) return "accepted";
  EXPECT_EQ(header.error().code, ErrorCode::kProtocol);
  return header.error().message;
}

void StoreU32(HeaderBytes& bytes, std::size_t at, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<std::byte>(value >> (8 * i));
}

TEST(HeaderCrc, GivesTheCheckValuesOfRfc3720) {
  const std::string digits = "123456789";
  EXPECT_EQ(HeaderCrc32c(std::as_bytes(std::span(digits))), 0xE3069283u);
  const std::array<std::byte, 32> zeros{};
  EXPECT_EQ(HeaderCrc32c(zeros), 0x8A9136AAu);
  EXPECT_EQ(HeaderCrc32c({}), 0u);
}

RC_GTEST_PROP(HeaderCrcProperty, TheInstructionAgreesWithTheTable, ()) {
  const auto bytes = *rc::gen::arbitrary<std::string>();
  const auto span = std::as_bytes(std::span(bytes));
  RC_ASSERT(HeaderCrc32c(span) == HeaderCrc32cPortable(span));
}

// The layout is a contract with other builds: these bytes never change.
TEST(FrameHeader, HasItsDocumentedLayout) {
  const HeaderBytes bytes = Encode(Sample());
  EXPECT_EQ(Hex(std::span(bytes).first<60>()),
            "4943"
            "05"
            "03"
            "23010200"
            "8877665544332211"
            "a8a7a6a5a4a3a2a1"
            "b8b7b6b5b4b3b2b1"
            "c2c1"
            "02"
            "00"
            "23010000"
            "d8d7d6d5d4d3d2d1"
            "e8e7e6e5e4e3e201"
            "f4f3f2f1");
}

TEST(FrameHeader, ReadsBackEveryTypeAndStatus) {
  for (int type = 1; type <= static_cast<int>(kFrameTypeLast); ++type) {
    FrameHeader header = Sample();
    header.type = static_cast<FrameType>(type);
    EXPECT_NE(FrameTypeName(header.type), "unknown");
    const auto decoded = DecodeFrameHeader(Encode(header));
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(*decoded, header);
  }
  for (int status = -1; status <= static_cast<int>(ErrorCode::kInternal); ++status) {
    FrameHeader header = Sample();
    header.status.reset();
    if (status >= 0) header.status = static_cast<ErrorCode>(status);
    const auto decoded = DecodeFrameHeader(Encode(header));
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(*decoded, header);
  }
}

RC_GTEST_PROP(FrameHeaderProperty, ReadsBack, ()) {
  FrameHeader header = Sample();
  header.payload_bytes = *rc::gen::inRange<std::uint32_t>(0, kFramePayloadBytesMax + 1);
  header.meta_bytes =
      *rc::gen::inRange<std::uint32_t>(0, std::min(header.payload_bytes, kFrameMetaBytesMax) + 1);
  header.request = *rc::gen::arbitrary<std::uint64_t>();
  header.chunk = {ObjectId(*rc::gen::arbitrary<std::uint64_t>()),
                  Version(*rc::gen::arbitrary<std::uint64_t>()),
                  *rc::gen::arbitrary<std::uint16_t>()};
  header.offset = *rc::gen::inRange<std::uint64_t>(0, 1ULL << 63);
  header.length = *rc::gen::inRange<std::uint64_t>(0, 1ULL << 63);
  header.payload_crc = *rc::gen::arbitrary<std::uint32_t>();
  const auto decoded = DecodeFrameHeader(Encode(header));
  RC_ASSERT(decoded.has_value());
  RC_ASSERT(*decoded == header);
}

TEST(FrameHeader, EveryFlippedBitIsSeen) {
  const HeaderBytes good = Encode(Sample());
  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    HeaderBytes bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto decoded = DecodeFrameHeader(bad);
    ASSERT_FALSE(decoded) << "bit " << bit;
    EXPECT_EQ(decoded.error().code, ErrorCode::kProtocol);
    EXPECT_THAT(decoded.error().message, HasSubstr(bit < 16 ? "magic" : "header checksum"));
  }
}

TEST(FrameHeader, ErrorsNameTheField) {
  EXPECT_EQ(ErrorAfter([](HeaderBytes&) {}), "accepted");
  EXPECT_EQ(ErrorAfter([](HeaderBytes& b) { b[0] = std::byte{'X'}; }),
            "bad frame: magic 0x4358, expected 0x4349");
  EXPECT_EQ(ErrorAfter([](HeaderBytes& b) { b[2] = std::byte{0}; }), "bad frame: unknown type 0");
  EXPECT_EQ(ErrorAfter([](HeaderBytes& b) { b[2] = std::byte{200}; }),
            "bad frame: unknown type 200");
  EXPECT_EQ(ErrorAfter([](HeaderBytes& b) { b[3] = std::byte{4}; }),
            "bad frame: unknown flags 0x04");
  EXPECT_EQ(ErrorAfter([](HeaderBytes& b) { b[34] = std::byte{13}; }),
            "bad frame: unknown status 13");
  EXPECT_EQ(ErrorAfter([](HeaderBytes& b) { b[35] = std::byte{1}; }),
            "bad frame: reserved byte 0x01, expected 0");
}

TEST(FrameHeader, BoundsAreExact) {
  EXPECT_EQ(ErrorAfter([](HeaderBytes& b) { StoreU32(b, 4, kFramePayloadBytesMax); }), "accepted");
  EXPECT_THAT(ErrorAfter([](HeaderBytes& b) { StoreU32(b, 4, kFramePayloadBytesMax + 1); }),
              HasSubstr("payload of 196609 bytes"));
  EXPECT_EQ(ErrorAfter([](HeaderBytes& b) { StoreU32(b, 36, kFrameMetaBytesMax); }), "accepted");
  EXPECT_THAT(ErrorAfter([](HeaderBytes& b) { StoreU32(b, 36, kFrameMetaBytesMax + 1); }),
              HasSubstr("metadata of 65537 bytes, at most"));
  EXPECT_EQ(ErrorAfter([](HeaderBytes& b) { StoreU32(b, 4, 0x0123); }), "accepted");
  EXPECT_THAT(ErrorAfter([](HeaderBytes& b) { StoreU32(b, 4, 0x0122); }),
              HasSubstr("metadata of 291 bytes in a payload of 290"));
  EXPECT_THAT(ErrorAfter([](HeaderBytes& b) { StoreU32(b, 52, 0xFFFFFFFF); }),
              HasSubstr("overflows"));
}

TEST(FrameHeaderDeathTest, EncodingWhatCannotBeDecodedIsABug) {
  HeaderBytes bytes;
  FrameHeader header = Sample();
  header.payload_bytes = kFramePayloadBytesMax + 1;
  EXPECT_DEATH(EncodeFrameHeader(header, bytes), "payload");
  header = Sample();
  header.flags = 4;
  EXPECT_DEATH(EncodeFrameHeader(header, bytes), "flags");
}

// --- Chunk metadata -----------------------------------------------------------------------------

ChunkMeta SampleMeta() {
  return {.key = "layer:1",
          .object_bytes = 0x1122334455667788,
          .chunk_bytes = 0x0102030405060708,
          .strip_bytes = 0x00010203,
          .data = 10,
          .parity = 2,
          .expires_at_ms = -2};
}

std::string Append(const ChunkMeta& meta) {
  std::string out;
  AppendChunkMeta(meta, out);
  EXPECT_EQ(out.size(), ChunkMetaBytes(meta.key.size()));
  return out;
}

std::string MetaErrorAfter(std::size_t at, char value) {
  std::string bytes = Append(SampleMeta());
  bytes[at] = value;
  const auto meta = ParseChunkMeta(bytes);
  if (meta) return "accepted";
  EXPECT_EQ(meta.error().code, ErrorCode::kProtocol);
  return meta.error().message;
}

TEST(ChunkMeta, HasItsDocumentedLayout) {
  const std::string bytes = Append(SampleMeta());
  EXPECT_EQ(Hex(std::as_bytes(std::span(bytes))),
            "01"
            "0a"
            "02"
            "00"
            "03020100"
            "8877665544332211"
            "0807060504030201"
            "feffffffffffffff"
            "07000000"
            "6c617965723a31");
}

RC_GTEST_PROP(ChunkMetaProperty, ReadsBack, ()) {
  ChunkMeta meta;
  meta.key = *rc::gen::arbitrary<std::string>();
  meta.object_bytes = *rc::gen::arbitrary<std::uint64_t>();
  meta.chunk_bytes = *rc::gen::arbitrary<std::uint64_t>();
  meta.strip_bytes = *rc::gen::inRange<std::uint32_t>(1, kStripBytesMax + 1);
  meta.data = *rc::gen::inRange<std::uint8_t>(1, kCodeWidthMax + 1);
  meta.parity =
      static_cast<std::uint8_t>(*rc::gen::inRange<std::size_t>(0, kCodeWidthMax - meta.data + 1));
  meta.expires_at_ms = *rc::gen::arbitrary<std::int64_t>();
  std::string bytes;
  AppendChunkMeta(meta, bytes);
  const auto parsed = ParseChunkMeta(bytes);
  RC_ASSERT(parsed.has_value());
  RC_ASSERT(*parsed == meta);
}

TEST(ChunkMeta, NeitherLessNorMoreThanOneBlock) {
  const std::string bytes = Append(SampleMeta());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(ParseChunkMeta(std::string_view(bytes).substr(0, size))) << size;
  }
  EXPECT_FALSE(ParseChunkMeta(bytes + "x"));
}

TEST(ChunkMeta, BoundsAreExact) {
  ChunkMeta meta = SampleMeta();
  meta.key = std::string(kKeyBytesMax, 'k');
  meta.strip_bytes = kStripBytesMax;
  meta.data = 30;
  EXPECT_TRUE(ParseChunkMeta(Append(meta)));

  std::string bytes = Append(meta) + "k";
  bytes[32] = 1;
  EXPECT_THAT(ParseChunkMeta(bytes).error().message, HasSubstr("key of 32769 bytes"));
  EXPECT_THAT(MetaErrorAfter(0, 2), HasSubstr("version 2"));
  EXPECT_THAT(MetaErrorAfter(1, 0), HasSubstr("code 0+2"));
  EXPECT_EQ(MetaErrorAfter(1, 30), "accepted");
  EXPECT_THAT(MetaErrorAfter(1, 31), HasSubstr("code 31+2"));
  EXPECT_THAT(MetaErrorAfter(3, 1), HasSubstr("reserved byte"));
  EXPECT_THAT(MetaErrorAfter(6, 2), HasSubstr("strips of"));
  EXPECT_THAT(MetaErrorAfter(32, 8), HasSubstr("key of 8 bytes stated"));

  meta.strip_bytes = 0;
  meta.chunk_bytes = 0;
  EXPECT_TRUE(ParseChunkMeta(Append(meta)));
}

}  // namespace
}  // namespace infinicache::wire
