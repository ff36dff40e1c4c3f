#include "cache/object.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "cache/reclaimer_for_test.h"

namespace infinicache::cache {
namespace {

using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class ObjectTest : public testing::Test {
 protected:
  // Chunk i of 2+1 lies on node 10 + i; `placed` of them.
  ObjectRef Make(std::size_t placed) {
    auto object = RecordForTest("key", ObjectId(7), Version(3), 1000, reclaimer_);
    for (std::size_t i = 0; i < placed; ++i) object->set_place(i, PlaceOf(i));
    return object;
  }
  static pool::Place PlaceOf(std::size_t i) {
    return {NodeId(static_cast<std::uint32_t>(10 + i)), pool::Epoch(0xfffffff0)};
  }

  std::shared_ptr<ReclaimerForTest> reclaimer_ = std::make_shared<ReclaimerForTest>();
};

TEST_F(ObjectTest, DroppingAnUnownedRecordReclaimsEachPlacedChunkOnce) {
  ObjectRef object = Make(2);  // the third is nowhere
  const auto first = std::pair(PlaceOf(0), object->chunk(0));
  const auto second = std::pair(PlaceOf(1), object->chunk(1));
  ObjectRef reader = object;
  object.reset();
  EXPECT_THAT(reclaimer_->reclaimed, IsEmpty()) << "somebody holds it";
  reader.reset();
  EXPECT_THAT(reclaimer_->reclaimed, UnorderedElementsAre(first, second));
}

TEST_F(ObjectTest, DroppingAnOwnedRecordReclaimsNothing) {
  ObjectRef object = Make(3);
  object->set_owned(true);
  object.reset();
  EXPECT_THAT(reclaimer_->reclaimed, IsEmpty());
}

TEST_F(ObjectTest, ClearPlaceForgetsOnlyThePlaceThatIsExpected) {
  const ObjectRef object = Make(3);
  object->ClearPlace(1, PlaceOf(2));
  EXPECT_EQ(object->place(1), PlaceOf(1)) << "it was moved meanwhile";
  object->ClearPlace(1, PlaceOf(1));
  EXPECT_TRUE(object->place(1).IsNowhere());
  EXPECT_EQ(object->place(0), PlaceOf(0));
  EXPECT_EQ(object->place(2), PlaceOf(2));
}

TEST_F(ObjectTest, AClearedPlaceIsRememberedWithItsReasonUntilTheChunkIsElsewhere) {
  const ObjectRef object = Make(3);
  object->ClearPlace(1, PlaceOf(1));
  object->ClearCorrupt(2, PlaceOf(1));
  EXPECT_EQ(object->place(2), PlaceOf(2)) << "it was moved meanwhile";
  object->ClearCorrupt(2, PlaceOf(2));
  object->ClearPlace(2, PlaceOf(2));
  EXPECT_TRUE(object->place(2).IsNowhere());
  EXPECT_EQ(object->last_place(1), PlaceOf(1));
  EXPECT_EQ(object->last_place(2), PlaceOf(2));
  EXPECT_FALSE(object->was_corrupt(1));
  EXPECT_TRUE(object->was_corrupt(2));
  object->set_place(2, PlaceOf(7));
  EXPECT_EQ(object->place(2), PlaceOf(7));
  EXPECT_FALSE(object->was_corrupt(2));
}

TEST_F(ObjectTest, ExpiresAtItsTimeAndNotBefore) {
  const ObjectRef object = Make(0);
  EXPECT_FALSE(object->IsExpired(1'000'000));
  object->set_expires_at(5000);
  EXPECT_FALSE(object->IsExpired(4999));
  EXPECT_TRUE(object->IsExpired(5000));
}

}  // namespace
}  // namespace infinicache::cache
