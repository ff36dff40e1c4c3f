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

TEST(NodeShared, AnAnswerThatWasOvertakenSaysNothing) {
  NodeShared shared;
  const InstanceId one(1);
  EXPECT_EQ(shared.NoteFill(one, std::nullopt, 100, 1), 100U);
  EXPECT_EQ(shared.NoteFill(one, 0xFFFFFFFF, 300, 2), 200U);
  EXPECT_EQ(shared.NoteFill(one, 1, 400, 4), 100U) << "the sequence has wrapped around";
  EXPECT_EQ(shared.NoteFill(one, 0, 350, 3), 0U);
  EXPECT_EQ(shared.NoteFill(one, std::nullopt, 100, 1), 0U) << "another loop's welcome, late";
  EXPECT_EQ(shared.bytes_used, 400U);
  EXPECT_EQ(shared.chunks, 4U);
  EXPECT_EQ(shared.NoteFill(InstanceId(2), std::nullopt, 10, 0), 0U);
  EXPECT_EQ(shared.bytes_used, 10U);
}

TEST(NodeShared, WhatIsLentIsFreeForItsBorrowerOnly) {
  NodeShared shared;
  shared.bytes_limit = 10 * kMiB;
  shared.bytes_used = 9 * kMiB;
  shared.bytes_lent = 3 * kMiB;
  EXPECT_EQ(shared.StoredBytes(), 6 * kMiB);
  EXPECT_EQ(shared.FreeBytes(), kMiB);
  EXPECT_EQ(shared.FreeBytes(2 * kMiB), 3 * kMiB);
  shared.bytes_reserved = 4 * kMiB;
  EXPECT_EQ(shared.MissingBytes(2 * kMiB), kMiB);
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
