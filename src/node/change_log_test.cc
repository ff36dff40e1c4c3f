#include "node/change_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace infinicache::node {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

ChunkId ChunkOf(std::uint64_t object) {
  return {ObjectId(object), Version(1), 0};
}

TEST(ChangeLog, TellsWhatWasRemovedSinceAChange) {
  ChangeLog log;
  log.NoteRemoved(ChunkOf(1));
  const std::uint64_t between = log.Next();
  log.NoteRemoved(ChunkOf(2));
  log.NoteRemoved(ChunkOf(3));
  EXPECT_THAT(*log.RemovedSince(0), ElementsAre(ChunkOf(1), ChunkOf(2), ChunkOf(3)));
  EXPECT_THAT(*log.RemovedSince(between), ElementsAre(ChunkOf(2), ChunkOf(3)));
  EXPECT_THAT(*log.RemovedSince(log.last()), IsEmpty());
}

TEST(ChangeLog, SaysThatItDoesNotKnowAFutureChange) {
  ChangeLog log;
  log.NoteRemoved(ChunkOf(1));
  EXPECT_FALSE(log.RemovedSince(log.last() + 1));
}

TEST(ChangeLog, KeepsABoundedNumberOfRemovalsAndSaysWhereItsMemoryEnds) {
  ChangeLog log;
  for (std::size_t i = 0; i < ChangeLog::kRemovalsMax; ++i) log.NoteRemoved(ChunkOf(i));
  EXPECT_EQ(log.RemovedSince(0)->size(), ChangeLog::kRemovalsMax);
  log.NoteRemoved(ChunkOf(9));
  EXPECT_FALSE(log.RemovedSince(0));
  EXPECT_EQ(log.RemovedSince(1)->size(), ChangeLog::kRemovalsMax);
}

}  // namespace
}  // namespace infinicache::node
