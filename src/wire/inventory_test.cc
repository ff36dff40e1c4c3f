#include "wire/inventory.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace infinicache::wire {
namespace {

using ::testing::HasSubstr;

InventoryEntry Entry(std::uint64_t object, std::string key = "key") {
  return {.chunk = {ObjectId(object), Version(0x0102030405060708), 0x0A0B},
          .stored_bytes = 4096,
          .meta = {.key = std::move(key),
                   .object_bytes = 1000,
                   .chunk_bytes = 1000,
                   .strip_bytes = 1024,
                   .data = 1,
                   .parity = 2,
                   .expires_at_ms = kDeletedMark}};
}

std::string Page(const std::vector<InventoryEntry>& entries) {
  std::string page;
  for (const InventoryEntry& entry : entries) AppendInventoryEntry(entry, page);
  return page;
}

std::string ErrorOf(std::string_view bytes) {
  const auto page = ParseInventoryPage(bytes);
  if (page) return "accepted";
  EXPECT_EQ(page.error().code, ErrorCode::kProtocol);
  return page.error().message;
}

TEST(InventoryPage, HasTheDocumentedBytes) {
  const std::string page = Page({Entry(0x1112131415161718, "k")});
  std::string hex;
  for (const char c : page.substr(0, 30))
    hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  EXPECT_EQ(hex,
            "25000000"
            "1817161514131211"
            "0807060504030201"
            "0b0a"
            "0010000000000000");
  EXPECT_EQ(page.size(), 30U + 36U + 1U);
}

TEST(InventoryPage, AnEmptyPageIsAPage) {
  EXPECT_TRUE(ParseInventoryPage("").value().empty());
}

TEST(InventoryPage, TheLargestEntryFitsIntoAFramesMetadata) {
  EXPECT_LE(InventoryEntryBytes(kKeyBytesMax), kFrameMetaBytesMax);
  const InventoryEntry entry = Entry(1, std::string(kKeyBytesMax, 'k'));
  EXPECT_EQ(ParseInventoryPage(Page({entry})).value(), std::vector{entry});
}

TEST(InventoryPage, APageThatIsCutAnywhereIsRefused) {
  const std::string page = Page({Entry(1), Entry(2)});
  const std::size_t first = Page({Entry(1)}).size();
  for (std::size_t size = 1; size < page.size(); ++size) {
    if (size != first) EXPECT_NE(ErrorOf(page.substr(0, size)), "accepted") << size;
  }
}

TEST(InventoryPage, EntriesOutOfOrderOrTwiceAreRefused) {
  EXPECT_THAT(ErrorOf(Page({Entry(2), Entry(1)})), HasSubstr("ascending"));
  EXPECT_THAT(ErrorOf(Page({Entry(2), Entry(2)})), HasSubstr("ascending"));
}

RC_GTEST_PROP(InventoryPage, WhatIsWrittenIsRead, ()) {
  const auto objects =
      *rc::gen::container<std::set<std::uint64_t>>(rc::gen::arbitrary<std::uint64_t>());
  std::vector<InventoryEntry> entries;
  for (const std::uint64_t object : objects) {
    InventoryEntry entry = Entry(object, *rc::gen::arbitrary<std::string>());
    entry.meta.expires_at_ms = *rc::gen::arbitrary<std::int64_t>();
    entry.stored_bytes = *rc::gen::arbitrary<std::uint64_t>();
    entries.push_back(std::move(entry));
  }
  RC_ASSERT(ParseInventoryPage(Page(entries)).value() == entries);
}

TEST(ExpiryList, WhatIsWrittenIsReadUpToItsLimit) {
  std::vector<ChunkExpiry> list;
  for (std::size_t i = 0; i < kExpiryListMax; ++i)
    list.push_back({{ObjectId(i), Version(~i), static_cast<std::uint16_t>(i)},
                    i % 2 == 0 ? kVoidMark : static_cast<std::int64_t>(i) << 32});
  const std::string bytes = EncodeExpiryList(list);
  EXPECT_LE(bytes.size(), kFrameMetaBytesMax);
  EXPECT_EQ(ParseExpiryList(bytes).value(), list);
  EXPECT_FALSE(ParseExpiryList(bytes.substr(1)));
  EXPECT_FALSE(ParseExpiryList(bytes + bytes.substr(0, bytes.size() / kExpiryListMax)));
  EXPECT_TRUE(ParseExpiryList("").value().empty());
}

TEST(ChunkList, WhatIsWrittenIsReadAndNothingOfAnotherLength) {
  std::vector<ChunkId> chunks;
  for (std::size_t i = 0; i < kChunkListMax; ++i)
    chunks.push_back({ObjectId(i), Version(~i), static_cast<std::uint16_t>(i)});
  const std::string bytes = EncodeChunkList(chunks);
  EXPECT_EQ(bytes.size(), 18 * kChunkListMax);
  EXPECT_EQ(ParseChunkList(bytes).value(), chunks);
  EXPECT_EQ(ParseChunkList(bytes.substr(1)).error().code, ErrorCode::kProtocol);
  EXPECT_TRUE(ParseChunkList("").value().empty());
}

}  // namespace
}  // namespace infinicache::wire
