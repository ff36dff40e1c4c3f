#include "cache/hidden.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "cache/reclaimer_for_test.h"

namespace infinicache::cache {
namespace {

class HiddenTest : public testing::Test {
 protected:
  // A 4+2 object whose chunks are on these nodes, in instances of `epoch`.
  ObjectRef Object(std::uint64_t version, const std::vector<std::uint32_t>& nodes,
                   std::uint32_t epoch = 1) {
    auto object =
        std::make_shared<ObjectRecord>("key", HashKey("key"), Version(version),
                                       coding::StripeLayout::For(200'000, {4, 2}), reclaimer_);
    for (std::size_t i = 0; i < nodes.size(); ++i)
      object->set_place(i, {NodeId(nodes[i]), pool::Epoch(epoch)});
    return object;
  }

  std::shared_ptr<ReclaimerForTest> reclaimer_ = std::make_shared<ReclaimerForTest>();
};

TEST_F(HiddenTest, PPlusOneCommonInstancesHideTheOlderVersion) {
  const ObjectRef older = Object(1, {0, 1, 2, 3, 4, 5});
  EXPECT_EQ(MarksThatHide(*older), 3U);
  EXPECT_TRUE(Hides(*Object(2, {9, 8, 7, 0, 3, 5}), *older));
  EXPECT_FALSE(Hides(*Object(2, {9, 8, 7, 6, 3, 5}), *older));
}

TEST_F(HiddenTest, AnotherInstanceOfTheSameNodeIsNoWitness) {
  const std::vector<std::uint32_t> nodes = {0, 1, 2, 3, 4, 5};
  EXPECT_FALSE(Hides(*Object(2, nodes, 2), *Object(1, nodes, 1)));
}

TEST_F(HiddenTest, ChunksThatAreNowhereAreNoWitnesses) {
  EXPECT_FALSE(Hides(*Object(2, {0, 1}), *Object(1, {0, 1})));
}

TEST_F(HiddenTest, WhatIsNotHiddenHasToBeMarkedWhicheverWasCommittedFirst) {
  const ObjectRef older = Object(1, {0, 1, 2, 3, 4, 5});
  const ObjectRef newer = Object(2, {6, 7, 8, 9, 10, 11});
  EXPECT_EQ(Exposed({true, older}, newer), older);
  EXPECT_EQ(Exposed({true, newer}, older), older);
  EXPECT_EQ(Exposed({true, older}, Object(2, {0, 1, 2})), nullptr);
  EXPECT_EQ(Exposed({false, older}, newer), nullptr);
  EXPECT_EQ(Exposed({true, nullptr}, newer), nullptr);
}

}  // namespace
}  // namespace infinicache::cache
