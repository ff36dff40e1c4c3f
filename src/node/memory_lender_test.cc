#include "node/memory_lender.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "coding/crc32c.h"

namespace infinicache::node {
namespace {

constexpr std::uint64_t kLimit = 8 * kMiB;
constexpr std::uint32_t kStripBytes = 64 * kKiB;

ChunkId Id(std::uint64_t version) {
  return {ObjectId(7), Version(version), 0};
}

// A store that lends, and the proxy's side of it: it has the memory mapped, and writes records.
class MemoryLenderTest : public testing::Test {
 protected:
  using Ranges = std::vector<wire::MemoryRange>;

  MemoryLenderTest() {
    auto memory = SharedMemory::Create("lender", ChunkStore::MemoryBytes(kLimit));
    CHECK(memory);
    auto seen = SharedMemory::Open(getpid(), memory->fd(), "lender");
    CHECK(seen);
    seen_ = std::make_unique<SharedMemory>(std::move(*seen));
    store_ = std::make_unique<ChunkStore>(std::move(*memory), kLimit);
    lender_ = std::make_unique<MemoryLender>(*store_, [this] { ++changes_; });
  }

  Result<MemoryLender::Lent> Lend(std::uint64_t bytes, const Ranges& back = {},
                                  std::uint64_t loan = 1, std::uint64_t owner = 1,
                                  std::uint16_t account = 0) {
    lender_->Drain();
    return lender_->Lend({owner, account, loan, bytes, kStripBytes}, back);
  }
  Ranges MustLend(std::uint64_t bytes, std::uint64_t loan = 1, std::uint64_t owner = 1,
                  std::uint16_t account = 0) {
    auto lent = Lend(bytes, {}, loan, owner, account);
    CHECK(lent, "{}", lent.error().message);
    return std::move(lent->ranges);
  }

  // A chunk of one strip at `offset`.
  wire::StoredChunk ChunkAt(std::uint64_t version, std::uint64_t offset,
                            std::uint32_t bytes = kStripBytes) {
    std::memset(seen_->data() + offset, static_cast<int>(version), bytes);
    wire::StoredChunk stored;
    stored.chunk = Id(version);
    stored.meta = {"key", bytes, bytes, kStripBytes, 1, 2, 0};
    stored.location.AddStrip(coding::Crc32c({seen_->data() + offset, bytes}));
    stored.location.AddPiece(offset, bytes);
    return stored;
  }
  void Write(const wire::StoredChunk& stored, std::uint16_t account = 0) {
    WriteRecord(wire::EncodeStoredChunk(stored.chunk, stored.meta, stored.location), account);
  }
  void WriteRecord(const std::string& record, std::uint16_t account = 0) {
    RecordRing ring(wire::LendRing({seen_->data(), seen_->bytes()}, account));
    ASSERT_TRUE(ring.Write(record));
  }

  std::unique_ptr<SharedMemory> seen_;
  std::unique_ptr<ChunkStore> store_;
  std::unique_ptr<MemoryLender> lender_;
  int changes_ = 0;
};

TEST_F(MemoryLenderTest, WhatARecordTellsIsAChunk) {
  const Ranges lent = MustLend(kMiB);
  ASSERT_FALSE(lent.empty());
  const std::uint64_t used = store_->bytes_used();
  EXPECT_GE(used, lender_->lent_bytes());
  Write(ChunkAt(1, lent[0].offset));
  EXPECT_EQ(store_->Find(Id(1)), nullptr) << "nobody has looked yet";
  lender_->Drain();
  const auto chunk = store_->Find(Id(1));
  ASSERT_NE(chunk, nullptr);
  EXPECT_TRUE(chunk->Verify(chunk->strips()[0]));
  EXPECT_EQ(changes_, 1);
  EXPECT_EQ(store_->bytes_used(), used) << "it takes what was lent for it";
  const auto location = store_->Locate(Id(1));
  ASSERT_TRUE(location);
  EXPECT_EQ(location->pieces, ChunkAt(1, lent[0].offset).location.pieces);
}

TEST_F(MemoryLenderTest, AChunkInPiecesIsAChunkToo) {
  const Ranges lent = MustLend(kMiB);
  wire::StoredChunk stored;
  stored.chunk = Id(1);
  stored.meta = {"key", 80 * kKiB + 5, 80 * kKiB + 5, kStripBytes, 1, 2, 0};
  const std::uint64_t at = lent[0].offset;
  stored.location.AddStrip(coding::Crc32c({seen_->data() + at + 256 * kKiB, 0}));
  stored.location.AddPiece(at + 256 * kKiB, 40 * kKiB);
  stored.location.AddPiece(at, 24 * kKiB);
  stored.location.AddStrip(0);
  stored.location.AddPiece(at + 512 * kKiB, 16 * kKiB + 5);
  Write(stored);
  lender_->Drain();
  const auto chunk = store_->Find(Id(1));
  ASSERT_NE(chunk, nullptr);
  ASSERT_EQ(chunk->strips().size(), 2U);
  EXPECT_EQ(chunk->strips()[0].bytes, kStripBytes);
  EXPECT_EQ(chunk->strips()[1].bytes, 16 * kKiB + 5);
}

TEST_F(MemoryLenderTest, NothingIsLeftOfALoanThatIsOver) {
  const Ranges lent = MustLend(kMiB);
  Write(ChunkAt(1, lent[0].offset));
  EXPECT_TRUE(Lend(0, {}, 2));
  EXPECT_EQ(lender_->lent_bytes(), 0U);
  ASSERT_NE(store_->Find(Id(1)), nullptr) << "what was stored in it stays";
  EXPECT_TRUE(store_->Remove(Id(1)));
  EXPECT_EQ(store_->bytes_used(), 0U);
}

TEST_F(MemoryLenderTest, ANewOwnerFindsAllAccountsClosedAndTheirChunksStored) {
  const Ranges lent = MustLend(kMiB, 5, 1, 3);
  MustLend(kMiB, 6, 1, 4);
  Write(ChunkAt(1, lent[0].offset), 3);
  MustLend(kMiB, 1, 2);
  EXPECT_EQ(lender_->lent_bytes(), kMiB);
  EXPECT_NE(store_->Find(Id(1)), nullptr);
}

TEST_F(MemoryLenderTest, RequestsOutOfFormerConnectionsAreRefused) {
  const Ranges former = MustLend(kMiB, 1);
  const Ranges lent = MustLend(kMiB, 2);
  for (const auto& late : {Lend(kMiB, former, 1), Lend(0, {}, 1)}) {
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, ErrorCode::kCancelled);
  }
  MustLend(kMiB, 1, /*owner=*/9);
  EXPECT_EQ(Lend(kMiB, lent, 3, /*owner=*/1).error().code, ErrorCode::kCancelled);
  EXPECT_EQ(lender_->lent_bytes(), kMiB) << "the new owner's";
}

TEST_F(MemoryLenderTest, OnlyWhatWasLentIsTakenBack) {
  const Ranges lent = MustLend(kMiB);
  const wire::MemoryRange part{lent[0].offset, 128 * kKiB};
  EXPECT_TRUE(Lend(0, {part}));
  EXPECT_EQ(lender_->lent_bytes(), kMiB - part.bytes);
  for (const wire::MemoryRange& wrong :
       {part, wire::MemoryRange{part.offset + part.bytes - kKiB, 2 * kKiB},
        wire::MemoryRange{part.offset + part.bytes + 1, kKiB},
        wire::MemoryRange{part.offset + part.bytes, kKiB + 1},
        wire::MemoryRange{~std::uint64_t{0} - kMiB, kKiB}, wire::MemoryRange{0, kKiB}}) {
    const auto refused = Lend(0, {wrong});
    ASSERT_FALSE(refused) << wrong.offset << " + " << wrong.bytes;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(lender_->lent_bytes(), kMiB - part.bytes);
}

TEST_F(MemoryLenderTest, RecordsOfWhatCannotBeChangeNothing) {
  const Ranges lent = MustLend(256 * kKiB);
  const std::uint64_t at = lent[0].offset;
  const std::uint64_t end = lent[0].offset + lent[0].bytes;
  wire::StoredChunk wrong_length = ChunkAt(1, at);
  wrong_length.meta.chunk_bytes = kStripBytes - 1;
  wire::StoredChunk twice = ChunkAt(1, at);
  twice.meta.chunk_bytes = twice.meta.object_bytes = 2 * kStripBytes;
  twice.location.AddStrip(0);
  twice.location.AddPiece(at, kStripBytes);
  wire::StoredChunk long_key = ChunkAt(1, at);
  long_key.meta.key = std::string(kKeyBytesMax, 'k');
  const auto elsewhere = [&](std::uint64_t offset) {
    wire::StoredChunk stored = ChunkAt(1, at);
    stored.location.pieces[0].offset = offset;
    return stored;
  };
  for (const auto& stored : {elsewhere(end), elsewhere(end - kKiB), elsewhere(at + 1),
                             elsewhere(~std::uint64_t{0} - kKiB), twice, wrong_length, long_key}) {
    Write(stored);
    lender_->Drain();
    EXPECT_EQ(store_->Find(Id(1)), nullptr);
  }
  WriteRecord("no chunk");
  lender_->Drain();
  EXPECT_TRUE(Lend(0, {}, 2));
  EXPECT_EQ(store_->bytes_used(), 0U);
  const Ranges again = MustLend(256 * kKiB, 2);
  Write(ChunkAt(2, again[0].offset));
  lender_->Drain();
  EXPECT_NE(store_->Find(Id(2)), nullptr) << "and what comes later counts";
}

TEST_F(MemoryLenderTest, ARingThatIsBrokenIsClearedAndUsedOn) {
  const Ranges lent = MustLend(kMiB);
  Write(ChunkAt(1, lent[0].offset));
  const auto ring = wire::LendRing({seen_->data(), seen_->bytes()}, 0);
  std::memset(ring.data() + RecordRing::kHeaderBytes, 0xFF, 4);
  lender_->Drain();
  EXPECT_EQ(store_->chunks(), 0U);
  Write(ChunkAt(2, lent[0].offset + kStripBytes));
  lender_->Drain();
  EXPECT_NE(store_->Find(Id(2)), nullptr);
}

TEST(MemoryLender, PrivateMemoryIsNotLent) {
  ChunkStore store(kLimit);
  MemoryLender lender(store, [] {});
  EXPECT_EQ(lender.Lend({1, 0, 1, kMiB, kStripBytes}, {}).error().code, ErrorCode::kUnavailable);
}

// A borrower that stores, deletes and gives back at random: the store is never above its limit, and
// has all of it again at the end.
TEST_F(MemoryLenderTest, TheLimitHoldsWhateverIsBorrowed) {
  const std::uint64_t seed = 11;
  Random random(seed);
  Ranges held;
  std::vector<std::uint64_t> stored;
  std::uint64_t overhead = 0;
  for (std::uint64_t i = 1; i <= 5000; ++i) {
    const std::uint64_t dice = random.Below(10);
    if (dice < 3) {
      Ranges back;
      if (!held.empty() && random.Below(2) == 0) {
        back.push_back(held.back());
        held.pop_back();
      }
      auto lent = Lend(random.Below(kMiB), back);
      ASSERT_TRUE(lent) << "seed " << seed;
      overhead += lent->overhead;
      for (const wire::MemoryRange& range : lent->ranges) {
        std::uint64_t at = range.offset;
        for (; at + kStripBytes <= range.offset + range.bytes; at += kStripBytes)
          held.push_back({at, kStripBytes});
        if (at < range.offset + range.bytes) held.push_back({at, range.offset + range.bytes - at});
      }
    } else if (dice < 7 && !held.empty() && overhead > 2 * kKiB) {
      const wire::MemoryRange range = held.back();
      held.pop_back();
      Write(ChunkAt(i, range.offset, static_cast<std::uint32_t>(range.bytes)));
      overhead -= kChunkOverheadBytes + 3;
      stored.push_back(i);
      if (random.Below(2) == 0) lender_->Drain();
    } else if (!stored.empty()) {
      lender_->Drain();
      EXPECT_TRUE(store_->Remove(Id(stored.back()))) << "seed " << seed;
      stored.pop_back();
    }
    ASSERT_LE(store_->bytes_used(), store_->bytes_limit()) << "seed " << seed;
  }
  EXPECT_TRUE(Lend(0, {}, 2));
  for (const std::uint64_t version : stored) EXPECT_TRUE(store_->Remove(Id(version)));
  EXPECT_EQ(store_->bytes_used(), 0U);
}

}  // namespace
}  // namespace infinicache::node
