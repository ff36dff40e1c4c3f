#include "pool/node_state.h"

#include <gtest/gtest.h>

#include <set>
#include <string_view>

#include "base/bytes.h"

namespace infinicache::pool {
namespace {

TEST(NodeShared, HoldsOnlyTheEpochOfItsLivingInstance) {
  NodeShared shared;
  EXPECT_FALSE(shared.Holds(Epoch()));
  EXPECT_FALSE(shared.Holds(Epoch(1)));
  shared.epoch = 2;
  EXPECT_FALSE(shared.Holds(Epoch()));
  EXPECT_FALSE(shared.Holds(Epoch(1)));
  EXPECT_TRUE(shared.Holds(Epoch(2)));
  EXPECT_FALSE(shared.Holds(Epoch(3)));
}

TEST(NodeShared, ACopyHoldsTheEpochsThatItIsACopyOf) {
  NodeShared shared;
  shared.copied = 2;
  shared.epoch = 5;
  EXPECT_FALSE(shared.Holds(Epoch(2)));
  EXPECT_TRUE(shared.Holds(Epoch(3)));
  EXPECT_TRUE(shared.Holds(Epoch(5)));
  EXPECT_FALSE(shared.Holds(Epoch(6)));
  shared.epoch = 0;
  EXPECT_FALSE(shared.Holds(Epoch()));
  EXPECT_FALSE(shared.Holds(Epoch(1)));
}

TEST(NodeShared, FreeBytesAreWhatIsNeitherUsedNorReserved) {
  NodeShared shared;
  EXPECT_EQ(shared.FreeBytes(), 0U);
  shared.bytes_limit = 10 * kMiB;
  EXPECT_EQ(shared.FreeBytes(), 10 * kMiB);
  shared.bytes_used = 4 * kMiB;
  shared.bytes_reserved = 5 * kMiB;
  EXPECT_EQ(shared.FreeBytes(), 1 * kMiB);
  // Reservations are made before the node tells its fill: they may add up to more than there is.
  shared.bytes_used = 6 * kMiB;
  EXPECT_EQ(shared.FreeBytes(), 0U);
}

TEST(NodeState, EveryStateHasANameOfItsOwn) {
  const std::set<std::string_view> names = {NodeStateName(NodeState::kStarting),
                                            NodeStateName(NodeState::kActive),
                                            NodeStateName(NodeState::kDown)};
  EXPECT_EQ(names, (std::set<std::string_view>{"starting", "active", "down"}));
}

TEST(Place, IsNowhereUntilItNamesAnEpoch) {
  EXPECT_TRUE(Place().IsNowhere());
  EXPECT_FALSE((Place{NodeId(0), Epoch(1)}).IsNowhere());
}

}  // namespace
}  // namespace infinicache::pool
