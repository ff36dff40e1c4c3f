#include "cache/locate.h"

#include <gtest/gtest.h>

#include "cache/cluster_for_test.h"

namespace infinicache::cache {
namespace {

TEST(Locate, NotesTheChunksThatWereAskedForBesideThoseKnown) {
  ClusterForTest cluster(MappedForTest());
  const ObjectRef object = cluster.Put("key", ContentForTest(1, 1'500'000));
  EXPECT_EQ(object->map(), nullptr);
  cluster.Run(net::WithValue(Locate(cluster.worker(), object, 0b11)));
  ASSERT_NE(object->map(), nullptr);
  EXPECT_EQ(object->map()->chunks[1].place, object->place(1));
  EXPECT_TRUE(object->map()->chunks[2].place.IsNowhere());
  const wire::ChunkLocation* first = object->map()->chunks[0].location.get();
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->strips.size(), object->layout().rows());
  cluster.Run(net::WithValue(Locate(cluster.worker(), object, 0b100)));
  EXPECT_EQ(object->map()->chunks[0].location.get(), first);
  EXPECT_EQ(object->map()->chunks[2].place, object->place(2));
  EXPECT_EQ(cluster.OpenRequests(), 0U);
}

TEST(Locate, ANodeWithoutTheChunkIsNotBelievedToHaveIt) {
  ClusterForTest cluster(MappedForTest());
  const ObjectRef object = cluster.Put("key", ContentForTest(1, 100'000));
  cluster.RemoveChunk(object, 1);
  cluster.Run(net::WithValue(Locate(cluster.worker(), object, 0b111)));
  ASSERT_NE(object->map(), nullptr);
  EXPECT_EQ(object->map()->chunks[0].place, object->place(0));
  EXPECT_TRUE(object->map()->chunks[1].place.IsNowhere());
}

TEST(Locate, MemoryThatIsNotMappedIsNotAskedAbout) {
  ClusterForTest cluster;
  const ObjectRef object = cluster.Put("key", ContentForTest(1, 100'000));
  cluster.Run(net::WithValue(Locate(cluster.worker(), object, 0b111)));
  EXPECT_EQ(object->map(), nullptr);
}

TEST(Locate, ANodeThatDoesNotAnswerIsNotWaitedForLong) {
  ClusterForTest::Options options = MappedForTest();
  options.nodes = 3;
  options.apart = {1};
  ClusterForTest cluster(options);
  const ObjectRef object = cluster.Put("key", ContentForTest(1, 100'000));
  cluster.Stall(true);
  cluster.Run(net::WithValue(Locate(cluster.worker(), object, 0b111)));
  ASSERT_NE(object->map(), nullptr);
  std::size_t known = 0;
  for (const ObjectMap::Chunk& chunk : object->map()->chunks)
    known += chunk.place.IsNowhere() ? 0 : 1;
  EXPECT_EQ(known, 2U);
  EXPECT_EQ(cluster.OpenRequests(), 0U);
}

}  // namespace
}  // namespace infinicache::cache
