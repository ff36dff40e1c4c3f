#include "cache/retire.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cache/cluster_for_test.h"

namespace infinicache::cache {
namespace {

class RetireTest : public testing::Test {
 protected:
  RetireTest() : cluster_(Options()) {}

  static ClusterForTest::Options Options() {
    ClusterForTest::Options options;
    options.nodes = 6;
    options.apart = {3};
    options.cache.code = {4, 2};
    options.cache.repair = false;
    return options;
  }
  void RetireAll(const std::vector<ObjectRef>& objects) {
    cluster_.Run(net::WithValue(Retire(cluster_.worker(), objects, wire::kDeletedMark)));
  }
  std::size_t MarksOf(std::string_view key) {
    const auto expiries = cluster_.ExpiriesOnNodes(key);
    return static_cast<std::size_t>(
        std::count(expiries.begin(), expiries.end(), wire::kDeletedMark));
  }

  ClusterForTest cluster_;
};

TEST_F(RetireTest, MoreNodesThanMayBeLostHaveNotedTheMarkWhenItReturns) {
  const ObjectRef wide = cluster_.Put("wide", ContentForTest(1, 200'000));
  const ObjectRef copies = cluster_.Put("copies", "value");
  const ObjectRef kept = cluster_.Put("kept", "value");
  RetireAll({wide, copies});
  EXPECT_EQ(cluster_.OpenRequests(), 0U);
  EXPECT_EQ(MarksOf("wide"), 3U);
  EXPECT_EQ(MarksOf("copies"), 3U);
  EXPECT_EQ(MarksOf("kept"), 0U);
  EXPECT_EQ(cluster_.Read(copies).bytes, "value") << "a reader ends what it has begun";
  EXPECT_EQ(cluster_.stats().marks_unconfirmed, 0U);
}

TEST_F(RetireTest, OneMessagePerNodeServesManyObjects) {
  std::vector<ObjectRef> objects;
  for (int i = 0; i < 100; ++i)
    objects.push_back(cluster_.Put("key " + std::to_string(i), ContentForTest(1, 200'000)));
  net::Started<std::monostate> retiring(
      cluster_.loop(), net::WithValue(Retire(cluster_.worker(), objects, wire::kDeletedMark)));
  net::RunReady(cluster_.loop());
  EXPECT_LE(cluster_.OpenRequests(), 6U);
  cluster_.RunUntil([&] { return retiring.done(); });
  for (int i = 0; i < 100; ++i) EXPECT_EQ(MarksOf("key " + std::to_string(i)), 3U);
}

TEST_F(RetireTest, ANodeThatIsKnownToBeLateIsNotAskedIfOthersSuffice) {
  const ObjectRef object = cluster_.Put("key", ContentForTest(1, 200'000));
  cluster_.Stall(true);
  cluster_.worker().links().at(NodeId(3)).Suspect();
  RetireAll({object});
  EXPECT_EQ(cluster_.stats().marks_unconfirmed, 0U);
  cluster_.Stall(false);
  EXPECT_EQ(MarksOf("key"), 3U);
}

TEST_F(RetireTest, ANodeThatHangsIsNotWaitedForAndCounted) {
  std::vector<ObjectRef> objects;
  for (std::size_t i = 0; objects.empty(); ++i) {  // one of whose first chunks is on node 3
    const ObjectRef object = cluster_.Put("key " + std::to_string(i), ContentForTest(1, 200'000));
    for (std::size_t chunk = 0; chunk < 3; ++chunk)
      if (object->place(chunk).node == NodeId(3)) objects.push_back(object);
  }
  cluster_.Stall(true);
  RetireAll(objects);
  EXPECT_EQ(cluster_.stats().marks_unconfirmed, 1U);
  EXPECT_TRUE(cluster_.worker().links().at(NodeId(3)).suspect());
  EXPECT_EQ(cluster_.OpenRequests(), 0U);
  cluster_.Stall(false);
}

TEST_F(RetireTest, ANodeWithoutALinkIsCounted) {
  ObjectRef object;
  for (std::size_t i = 0; object == nullptr; ++i) {  // of which nothing is on the node that stalls
    object = cluster_.Put("key " + std::to_string(i), "value");
    for (const std::size_t chunk : {0, 1, 2}) {
      if (object != nullptr && object->place(chunk).node == NodeId(3)) object = nullptr;
    }
  }
  cluster_.Stall(true);
  cluster_.CutLink(object->place(0).node);
  cluster_.RunUntil([&] { return cluster_.worker().LinkTo(object->place(0)) == nullptr; });
  RetireAll({object});
  EXPECT_EQ(cluster_.stats().marks_unconfirmed, 1U);
  cluster_.Stall(false);
}

TEST_F(RetireTest, ANodeThatEndsIsNotWaitedFor) {
  const ObjectRef object = cluster_.Put("key", ContentForTest(1, 200'000));
  cluster_.Stall(true);
  net::Started<std::monostate> retiring(
      cluster_.loop(), net::WithValue(Retire(cluster_.worker(), {&object, 1}, wire::kDeletedMark)));
  net::RunReady(cluster_.loop());
  cluster_.Stall(false);
  for (std::size_t i = 0; i < 3; ++i) cluster_.Kill(object->place(i).node);
  cluster_.RunUntil([&] { return retiring.done(); });
  EXPECT_EQ(cluster_.stats().marks_unconfirmed, 0U);
}

}  // namespace
}  // namespace infinicache::cache
