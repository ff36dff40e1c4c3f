#include "node/chunk_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "coding/crc32c.h"

namespace infinicache::node {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kLimit = 8 * kMiB;

ChunkId Id(std::uint64_t version, std::uint16_t index = 0) {
  return {ObjectId(7), Version(version), index};
}

wire::ChunkMeta Meta(std::uint64_t chunk_bytes, std::uint32_t strip_bytes = 64 * kKiB,
                     std::string key = "key") {
  return {.key = std::move(key),
          .object_bytes = chunk_bytes,
          .chunk_bytes = chunk_bytes,
          .strip_bytes = strip_bytes,
          .data = 1,
          .parity = 2};
}

std::string Content(std::uint64_t seed, std::size_t bytes) {
  Random random(seed);
  std::string content(bytes, '\0');
  for (char& byte : content) byte = static_cast<char>(random());
  return content;
}

std::uint32_t Crc(std::string_view bytes) {
  return coding::Crc32c(std::as_bytes(std::span(bytes)));
}

// What a chunk takes, as the header says it.
std::uint64_t CostOf(const wire::ChunkMeta& meta) {
  std::uint64_t cost = ChunkStore::kChunkOverheadBytes + meta.key.size();
  for (std::uint64_t offset = 0; offset < meta.chunk_bytes; offset += meta.strip_bytes)
    cost += RoundUp(std::min<std::uint64_t>(meta.strip_bytes, meta.chunk_bytes - offset), kKiB);
  return cost;
}

// Receives the chunk's next strip as a link does. Returns what the store says to its checksum.
Status ReceiveStrip(ChunkStore& store, Chunk& chunk, std::uint64_t offset, std::string_view strip) {
  const auto extents = store.NextStrip(chunk, offset, strip.size());
  if (!extents) return tl::make_unexpected(extents.error());
  std::size_t at = 0;
  for (const Extent& extent : *extents) {
    std::memcpy(extent.data, strip.data() + at, extent.bytes);
    at += extent.bytes;
  }
  EXPECT_EQ(at, strip.size());
  return store.StripReceived(chunk, Crc(strip));
}

Status ReceiveAll(ChunkStore& store, Chunk& chunk, std::string_view content) {
  const std::uint32_t strip_bytes = chunk.meta().strip_bytes;
  for (std::size_t offset = 0; offset < content.size(); offset += strip_bytes) {
    if (auto status = ReceiveStrip(store, chunk, offset, content.substr(offset, strip_bytes));
        !status)
      return status;
  }
  return {};
}

// Stores a whole chunk. Errors: as Begin.
Status Put(ChunkStore& store, const ChunkId& id, const wire::ChunkMeta& meta,
           std::string_view content) {
  auto chunk = store.Begin(id, meta);
  if (!chunk) return tl::make_unexpected(chunk.error());
  if (auto status = ReceiveAll(store, **chunk, content); !status) return status;
  EXPECT_TRUE((*chunk)->IsComplete());
  store.Commit(std::move(*chunk));
  return {};
}

std::string Read(const Chunk& chunk) {
  std::string content;
  for (const Chunk::Strip& strip : chunk.strips()) {
    EXPECT_TRUE(chunk.Verify(strip));
    for (const Extent& extent : chunk.ExtentsOf(strip))
      content.append(reinterpret_cast<const char*>(extent.data), extent.bytes);
  }
  return content;
}

TEST(ChunkStore, GivesBackWhatWasStored) {
  ChunkStore store(kLimit);
  for (const std::size_t bytes :
       {std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{64 * kKiB},
        std::size_t{64 * kKiB + 1}, std::size_t{1'000'000}}) {
    const wire::ChunkMeta meta = Meta(bytes);
    const std::string content = Content(bytes, bytes);
    ASSERT_TRUE(Put(store, Id(bytes), meta, content));
    const auto chunk = store.Find(Id(bytes));
    ASSERT_NE(chunk, nullptr);
    EXPECT_EQ(chunk->id(), Id(bytes));
    EXPECT_EQ(chunk->meta(), meta);
    EXPECT_TRUE(Read(*chunk) == content) << bytes << " bytes";
  }
  EXPECT_EQ(store.chunks(), 6U);
}

TEST(ChunkStore, AChunkIsFoundByItsWholeIdentityOnly) {
  ChunkStore store(kLimit);
  const ChunkId id{ObjectId(1), Version(2), 3};
  ASSERT_TRUE(Put(store, id, Meta(10), Content(1, 10)));
  for (const ChunkId& other :
       {ChunkId{ObjectId(2), Version(2), 3}, ChunkId{ObjectId(1), Version(1), 3},
        ChunkId{ObjectId(1), Version(3), 3}, ChunkId{ObjectId(1), Version(2), 2}}) {
    EXPECT_EQ(store.Find(other), nullptr);
    EXPECT_FALSE(store.Remove(other));
  }
  EXPECT_NE(store.Find(id), nullptr);
  EXPECT_TRUE(store.Remove(id));
  EXPECT_EQ(store.Find(id), nullptr);
  EXPECT_FALSE(store.Remove(id));
}

TEST(ChunkStore, AnIncompleteChunkIsNotVisibleAndLeavesNothing) {
  ChunkStore store(kLimit);
  const std::string content = Content(1, 150'000);
  const wire::ChunkMeta meta = Meta(content.size());
  {
    auto chunk = store.Begin(Id(1), meta);
    ASSERT_TRUE(chunk);
    EXPECT_EQ(store.bytes_used(), CostOf(meta)) << "memory is taken whole at the start";
    for (std::size_t strips = 0; strips < 2; ++strips) {
      EXPECT_FALSE((*chunk)->IsComplete());
      EXPECT_EQ(store.Find(Id(1)), nullptr);
      ASSERT_TRUE(ReceiveStrip(store, **chunk, strips * 64 * kKiB,
                               std::string_view(content).substr(strips * 64 * kKiB, 64 * kKiB)));
    }
  }
  EXPECT_EQ(store.Find(Id(1)), nullptr);
  EXPECT_EQ(store.chunks(), 0U);
  EXPECT_EQ(store.bytes_used(), 0U);
}

TEST(ChunkStore, TakesStripsInTheirOrderAndLengthOnly) {
  ChunkStore store(kLimit);
  const std::string content = Content(1, 2500);
  auto begun = store.Begin(Id(1), Meta(2500, 1000));
  ASSERT_TRUE(begun);
  Chunk& chunk = **begun;
  const auto refuses = [&](std::uint64_t offset, std::uint64_t bytes) {
    const auto extents = store.NextStrip(chunk, offset, bytes);
    return !extents && extents.error().code == ErrorCode::kInvalidArgument;
  };
  EXPECT_TRUE(refuses(1000, 1000));
  EXPECT_TRUE(refuses(0, 999));
  EXPECT_TRUE(refuses(0, 1001));
  EXPECT_TRUE(refuses(1, 1000));
  ASSERT_TRUE(ReceiveStrip(store, chunk, 0, content.substr(0, 1000)));
  EXPECT_TRUE(refuses(0, 1000));
  EXPECT_TRUE(refuses(2000, 500));
  ASSERT_TRUE(ReceiveStrip(store, chunk, 1000, content.substr(1000, 1000)));
  EXPECT_TRUE(refuses(2000, 1000));
  ASSERT_TRUE(ReceiveStrip(store, chunk, 2000, content.substr(2000)));
  EXPECT_TRUE(chunk.IsComplete());
  EXPECT_TRUE(refuses(3000, 1));
}

TEST(ChunkStore, AStripWithAnotherChecksumIsRefusedAndMayBeSentAgain) {
  ChunkStore store(kLimit);
  const std::string content = Content(1, 1000);
  auto chunk = store.Begin(Id(1), Meta(1000));
  ASSERT_TRUE(chunk);
  ASSERT_TRUE(store.NextStrip(**chunk, 0, 1000));
  const Status status = store.StripReceived(**chunk, Crc(content));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE((*chunk)->IsComplete());
  EXPECT_TRUE(ReceiveAll(store, **chunk, content));
}

TEST(ChunkStore, FindsStripsByTheirOffset) {
  ChunkStore store(kLimit);
  auto chunk = store.Begin(Id(1), Meta(2500, 1000));
  ASSERT_TRUE(chunk);
  const std::pair<std::uint64_t, std::size_t> cases[] = {
      {0, 0},
      {1000, 1},
      {2000, 2},
      {3000, 3},
      {1, 3},
      {999, 3},
      {2500, 3},
      {std::numeric_limits<std::uint64_t>::max(), 3},
      {std::numeric_limits<std::uint64_t>::max() / 1000 * 1000, 3}};
  for (const auto& [offset, strip] : cases) EXPECT_EQ((*chunk)->StripAt(offset), strip) << offset;
  auto empty = store.Begin(Id(2), Meta(0, 0));
  ASSERT_TRUE(empty);
  EXPECT_EQ((*empty)->StripAt(0), 0U);
  EXPECT_TRUE((*empty)->strips().empty());
}

TEST(ChunkStore, AReaderKeepsAChunkThatIsReplacedOrRemoved) {
  ChunkStore store(kLimit);
  const std::string first = Content(1, 100'000);
  const std::string second = Content(2, 70'000);
  ASSERT_TRUE(Put(store, Id(1), Meta(first.size()), first));
  const auto reader = store.Find(Id(1));
  ASSERT_TRUE(Put(store, Id(1), Meta(second.size()), second));
  EXPECT_EQ(store.chunks(), 1U);
  EXPECT_TRUE(Read(*store.Find(Id(1))) == second);
  EXPECT_TRUE(Read(*reader) == first);

  EXPECT_EQ(store.bytes_used(), CostOf(Meta(first.size())) + CostOf(Meta(second.size())));
  EXPECT_TRUE(store.Remove(Id(1)));
  EXPECT_EQ(store.chunks(), 0U);
  // Whatever is stored now does not touch what the reader holds.
  const std::string third = Content(3, 7 * kMiB);
  ASSERT_TRUE(Put(store, Id(2), Meta(third.size()), third));
  EXPECT_TRUE(Read(*reader) == first);
}

TEST(ChunkStore, MemoryIsFreeWhenTheLastReaderLetsGoEvenAfterTheStore) {
  std::shared_ptr<const Chunk> reader;
  const std::string content = Content(1, 100'000);
  {
    ChunkStore store(kLimit);
    ASSERT_TRUE(Put(store, Id(1), Meta(content.size()), content));
    reader = store.Find(Id(1));
    store.Remove(Id(1));
    EXPECT_EQ(store.bytes_used(), CostOf(Meta(content.size())));
    reader.reset();
    EXPECT_EQ(store.bytes_used(), 0U);
    ASSERT_TRUE(Put(store, Id(1), Meta(content.size()), content));
    reader = store.Find(Id(1));
  }
  EXPECT_TRUE(Read(*reader) == content);
}

TEST(ChunkStore, AFullNodeSaysSoAndKeepsWhatItHas) {
  ChunkStore store(kLimit);
  const std::string content = Content(1, 100'000);
  std::uint64_t stored = 0;
  Status status;
  while ((status = Put(store, Id(stored + 1), Meta(content.size()), content))) ++stored;
  EXPECT_EQ(status.error().code, ErrorCode::kOutOfMemory);
  EXPECT_THAT(status.error().message, HasSubstr("full"));
  EXPECT_EQ(stored, kLimit / CostOf(Meta(content.size())));
  EXPECT_EQ(store.chunks(), stored);
  EXPECT_EQ(store.bytes_used(), stored * CostOf(Meta(content.size())));
  for (std::uint64_t i = 1; i <= stored; ++i) {
    const auto chunk = store.Find(Id(i));
    ASSERT_NE(chunk, nullptr);
    EXPECT_TRUE(Read(*chunk) == content);
  }
  ASSERT_TRUE(store.Remove(Id(1)));
  EXPECT_TRUE(Put(store, Id(1000), Meta(content.size()), content));
}

// Keys count too, and those of chunks that are still on their way in.
TEST(ChunkStore, NeverGrowsPastItsLimitWhateverIsOnItsWayIn) {
  ChunkStore store(kLimit);
  const wire::ChunkMeta small = Meta(1, 1, std::string(kKeyBytesMax, 'k'));
  std::vector<std::shared_ptr<Chunk>> incoming;
  for (;;) {
    auto chunk = store.Begin(Id(incoming.size()), small);
    if (!chunk) break;
    ASSERT_TRUE(ReceiveAll(store, **chunk, "x"));
    incoming.push_back(std::move(*chunk));
    ASSERT_LE(store.bytes_used(), store.bytes_limit());
  }
  EXPECT_EQ(incoming.size(), kLimit / CostOf(small));
  for (auto& chunk : incoming) {
    store.Commit(std::move(chunk));
    ASSERT_LE(store.bytes_used(), store.bytes_limit());
  }
  // The last bytes: what is left takes one chunk that just fits, and nothing more.
  const std::uint64_t free = store.bytes_limit() - store.bytes_used();
  const std::uint64_t fits = (free - ChunkStore::kChunkOverheadBytes) / kKiB * kKiB;
  EXPECT_FALSE(store.Begin(Id(5000), Meta(fits + 1, 64 * kKiB, "")));
  EXPECT_TRUE(store.Begin(Id(5000), Meta(fits, 64 * kKiB, "")));
}

TEST(ChunkStore, RefusesSizesThatNoChunkHas) {
  ChunkStore store(kLimit);
  for (const std::uint64_t bytes :
       {kLimit + 1, std::uint64_t{1} << 40, std::numeric_limits<std::uint64_t>::max() - 1,
        std::numeric_limits<std::uint64_t>::max()}) {
    for (const std::uint32_t strip_bytes : {std::uint32_t{1}, std::uint32_t{kStripBytesMax}}) {
      const auto chunk = store.Begin(Id(1), Meta(bytes, strip_bytes));
      ASSERT_FALSE(chunk);
      EXPECT_EQ(chunk.error().code, ErrorCode::kOutOfMemory);
    }
  }
  for (const std::uint32_t strip_bytes : {std::uint32_t{0}, std::uint32_t{kStripBytesMax + 1}}) {
    const auto chunk = store.Begin(Id(1), Meta(10, strip_bytes));
    ASSERT_FALSE(chunk);
    EXPECT_EQ(chunk.error().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(store.bytes_used(), 0U);
}

TEST(ChunkStore, AFlippedBitIsSeenByVerify) {
  ChunkStore store(kLimit);
  const std::string content = Content(1, 2500);
  ASSERT_TRUE(Put(store, Id(1), Meta(2500, 1000), content));
  EXPECT_FALSE(store.FlipBitForTest(Id(2), 0));
  EXPECT_FALSE(store.FlipBitForTest(Id(1), 2500));
  ASSERT_TRUE(store.FlipBitForTest(Id(1), 1999));
  const auto chunk = store.Find(Id(1));
  EXPECT_TRUE(chunk->Verify(chunk->strips()[0]));
  EXPECT_FALSE(chunk->Verify(chunk->strips()[1]));
  EXPECT_TRUE(chunk->Verify(chunk->strips()[2]));
}

// Writes, overwrites, half-written chunks, removals and readers, against a map of what each holds.
TEST(ChunkStore, AccountsEveryByteThroughRandomUse) {
  constexpr std::uint64_t kSeed = 37;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  ChunkStore store(kLimit);
  struct Held {
    wire::ChunkMeta meta;
    std::uint64_t seed;
  };
  std::map<ChunkId, Held> model;
  std::vector<std::pair<std::shared_ptr<Chunk>, std::uint64_t>> incoming;
  std::size_t refused = 0;
  for (std::uint64_t step = 0; step < 3000; ++step) {
    SCOPED_TRACE(testing::Message() << "step " << step);
    const ChunkId id = Id(random.Below(60), static_cast<std::uint16_t>(random.Below(2)));
    const std::uint64_t action = random.Below(10);
    if (action < 5) {
      const std::uint64_t bytes = random.Below(2) == 0 ? random.Below(3000) : random.Below(600'000);
      const auto strip_bytes = static_cast<std::uint32_t>(500 + random.Below(100'000));
      const wire::ChunkMeta meta = Meta(bytes, strip_bytes, std::string(random.Below(300), 'k'));
      const std::uint64_t free = store.bytes_limit() - store.bytes_used();
      auto chunk = store.Begin(id, meta);
      ASSERT_EQ(chunk.has_value(), CostOf(meta) <= free);
      if (!chunk) {
        ++refused;
      } else {
        incoming.emplace_back(std::move(*chunk), step);
      }
    } else if (action < 8 && !incoming.empty()) {
      std::swap(incoming[random.Below(incoming.size())], incoming.back());
      auto [chunk, seed] = std::move(incoming.back());
      incoming.pop_back();
      const std::string content = Content(seed, chunk->meta().chunk_bytes);
      ASSERT_TRUE(ReceiveAll(store, *chunk, content));
      if (action == 7) continue;  // the link ended before the chunk was committed
      model[chunk->id()] = {chunk->meta(), seed};
      store.Commit(std::move(chunk));
    } else {
      ASSERT_EQ(store.Remove(id), model.erase(id) > 0);
    }
    std::uint64_t expected = 0;
    for (const auto& [held_id, held] : model) expected += CostOf(held.meta);
    for (const auto& [chunk, seed] : incoming) expected += CostOf(chunk->meta());
    ASSERT_EQ(store.bytes_used(), expected);
    ASSERT_LE(store.bytes_used(), store.bytes_limit());
    ASSERT_EQ(store.chunks(), model.size());
  }
  EXPECT_GT(refused, 0U) << "the store was never full";
  for (const auto& [id, held] : model) {
    const auto chunk = store.Find(id);
    ASSERT_NE(chunk, nullptr);
    EXPECT_TRUE(Read(*chunk) == Content(held.seed, held.meta.chunk_bytes));
  }
}

TEST(ChunkStore, TellsWhereAChunkIsInSharedMemory) {
  auto memory = SharedMemory::Create("store", ExtentArena::MemoryBytes(kLimit));
  ASSERT_TRUE(memory);
  const auto seen = SharedMemory::Open(getpid(), memory->fd(), "store");
  ASSERT_TRUE(seen);
  ChunkStore store(std::move(*memory), kLimit);
  EXPECT_EQ(store.Locate(Id(1)).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(Put(store, Id(1), Meta(300'000, 128 * kKiB), Content(7, 300'000)));
  const auto location = store.Locate(Id(1));
  ASSERT_TRUE(location);
  std::string bytes;
  for (const auto& piece : location->pieces)
    bytes.append(reinterpret_cast<const char*>(seen->data() + piece.offset), piece.bytes);
  EXPECT_TRUE(bytes == Content(7, 300'000));
  EXPECT_EQ(location->strips.size(), store.Find(Id(1))->strips().size());
}

TEST(ChunkStore, PrivateMemoryHasNoPlacesForOthers) {
  ChunkStore store(kLimit);
  ASSERT_TRUE(Put(store, Id(1), Meta(1000), Content(7, 1000)));
  EXPECT_EQ(store.Locate(Id(1)).error().code, ErrorCode::kUnavailable);
}

// A reader that does not ask may be at it.
TEST(ChunkStore, CorruptChunksOfSharedMemoryAreNotReused) {
  auto memory = SharedMemory::Create("store", ExtentArena::MemoryBytes(kLimit));
  ASSERT_TRUE(memory);
  ChunkStore shared(std::move(*memory), kLimit);
  ASSERT_TRUE(Put(shared, Id(1), Meta(100'000), Content(7, 100'000)));
  const std::uint64_t used = shared.bytes_used();
  shared.RemoveCorrupt(Id(1));
  EXPECT_EQ(shared.Find(Id(1)), nullptr);
  EXPECT_EQ(shared.bytes_used(), used);

  ChunkStore store(kLimit);
  ASSERT_TRUE(Put(store, Id(1), Meta(100'000), Content(7, 100'000)));
  store.RemoveCorrupt(Id(1));
  EXPECT_EQ(store.bytes_used(), 0U);
}

TEST(ChunkStoreDeathTest, CommittingAnIncompleteChunkIsABug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  ChunkStore store(kLimit);
  auto chunk = store.Begin(Id(1), Meta(10));
  ASSERT_TRUE(chunk);
  EXPECT_DEATH(store.Commit(*chunk), "IsComplete");
}

}  // namespace
}  // namespace infinicache::node
