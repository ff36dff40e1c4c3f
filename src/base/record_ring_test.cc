#include "base/record_ring.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>

namespace infinicache {
namespace {

constexpr std::size_t kDataBytes = 1024;

struct Memory {
  alignas(64) std::array<std::byte, RecordRing::kHeaderBytes + kDataBytes> bytes{};
};

// Differs from record to record in length and bytes.
std::string Record(std::size_t n) {
  return std::string(1 + n * 37 % 200, static_cast<char>('a' + n % 26));
}

TEST(RecordRingTest, MemoryOfZerosIsEmpty) {
  Memory memory;
  RecordRing ring(memory.bytes);
  EXPECT_TRUE(ring.empty());
  EXPECT_EQ(ring.Read().value(), std::nullopt);
}

TEST(RecordRingTest, RecordsComeOutInOrderAndAcrossTheEnd) {
  Memory memory;
  RecordRing writer(memory.bytes);
  RecordRing reader(memory.bytes);
  for (std::size_t n = 0; n < 1000; ++n) {
    ASSERT_TRUE(writer.Write(Record(2 * n)));
    ASSERT_TRUE(writer.Write(Record(2 * n + 1)));
    EXPECT_FALSE(reader.empty());
    ASSERT_EQ(reader.Read().value(), Record(2 * n));
    ASSERT_EQ(reader.Read().value(), Record(2 * n + 1));
    EXPECT_TRUE(reader.empty());
  }
}

TEST(RecordRingTest, AFullRingTakesNothingUntilItIsRead) {
  Memory memory;
  RecordRing ring(memory.bytes);
  const std::string record(100, 'x');
  std::size_t written = 0;
  while (ring.Write(record)) ++written;
  EXPECT_EQ(written, kDataBytes / 104);
  EXPECT_EQ(ring.Read().value(), record);
  EXPECT_TRUE(ring.Write(record));
  EXPECT_FALSE(ring.Write(record));
}

TEST(RecordRingTest, TheLargestRecordIsHalfOfTheRing) {
  Memory memory;
  RecordRing ring(memory.bytes);
  const std::string record(ring.record_bytes_max(), 'x');
  ASSERT_TRUE(ring.Write(record));
  EXPECT_EQ(ring.Read().value(), record);
}

TEST(RecordRingTest, WhatWasWrittenOutlivesItsWriter) {
  Memory memory;
  {
    RecordRing writer(memory.bytes);
    ASSERT_TRUE(writer.Write("kept"));
  }
  EXPECT_EQ(RecordRing(memory.bytes).Read().value(), "kept");
  RecordRing next(memory.bytes);
  ASSERT_TRUE(next.Write("of the next writer"));
  EXPECT_EQ(RecordRing(memory.bytes).Read().value(), "of the next writer");
}

TEST(RecordRingTest, AReaderRefusesLengthsAndCountersThatCannotBe) {
  for (const std::uint32_t length : {0U, 100U, 513U, 0xFFFFFFFFU}) {
    Memory memory;
    RecordRing ring(memory.bytes);
    ASSERT_TRUE(ring.Write("abc"));
    std::memcpy(memory.bytes.data() + RecordRing::kHeaderBytes, &length, sizeof(length));
    const auto read = ring.Read();
    ASSERT_FALSE(read) << length;
    EXPECT_EQ(read.error().code, ErrorCode::kProtocol);
    ring.Clear();
    ASSERT_TRUE(ring.Write("def"));
    EXPECT_EQ(ring.Read().value(), "def");
  }
  Memory memory;
  RecordRing ring(memory.bytes);
  ASSERT_TRUE(ring.Write("abc"));
  const std::uint64_t written = kDataBytes + 8;
  std::memcpy(memory.bytes.data(), &written, sizeof(written));
  EXPECT_FALSE(ring.Read());
  EXPECT_FALSE(ring.Write("abc"));
}

TEST(RecordRingTest, OneThreadWritesWhileAnotherReads) {
  Memory memory;
  constexpr std::size_t kRecords = 20000;
  std::thread writer([&] {
    RecordRing ring(memory.bytes);
    for (std::size_t n = 0; n < kRecords; ++n) {
      while (!ring.Write(Record(n))) std::this_thread::yield();
    }
  });
  RecordRing ring(memory.bytes);
  for (std::size_t n = 0; n < kRecords;) {
    const auto record = ring.Read();
    ASSERT_TRUE(record);
    if (!*record) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(**record, Record(n));
    ++n;
  }
  writer.join();
}

}  // namespace
}  // namespace infinicache
