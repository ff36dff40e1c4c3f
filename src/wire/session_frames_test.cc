#include "wire/session_frames.h"

#include <gtest/gtest.h>

#include <chrono>

#include "wire/frame_for_test.h"

namespace infinicache::wire {
namespace {

using std::chrono::microseconds;

TEST(SessionFrames, APongArrivesAsItWasSent) {
  const Pong sent{SessionId(7), InstanceId(0xABCD), microseconds(12'345), {1000, 3}};
  const FrameHeader header = OverTheWire(EncodePong(sent));
  EXPECT_EQ(header.type, FrameType::kPong);
  const Pong pong = DecodePong(header);
  EXPECT_EQ(pong.session, sent.session);
  EXPECT_EQ(pong.instance, sent.instance);
  EXPECT_EQ(pong.runs_for, sent.runs_for);
  EXPECT_EQ(pong.fill.bytes_used, 1000U);
  EXPECT_EQ(pong.fill.chunks, 3U);
}

TEST(SessionFrames, APromiseIsNeverNegativeAndNeverBeyondReason) {
  EXPECT_EQ(DecodePong(EncodePong({SessionId(1), InstanceId(1), microseconds(-5), {}})).runs_for,
            Duration(0));
  FrameHeader header = EncodePong({SessionId(1), InstanceId(1), microseconds(5), {}});
  header.chunk.version = Version(UINT64_MAX);
  EXPECT_GT(DecodePong(header).runs_for, Duration(0));
  EXPECT_LE(DecodePong(header).runs_for, std::chrono::hours(365 * 24));
}

TEST(SessionFrames, ANewInstanceIsToldTheNewestVersion) {
  const FrameHeader header = OverTheWire(EncodeSince(Version(77)));
  EXPECT_EQ(header.type, FrameType::kSince);
  EXPECT_EQ(header.chunk.version, Version(77));
}

TEST(SessionFrames, AByeTellsItsTotals) {
  const FrameHeader header = OverTheWire(EncodeBye(SessionId(9), InstanceId(4), {5, 6}));
  EXPECT_EQ(header.type, FrameType::kBye);
  EXPECT_EQ(header.request, 9U);
  EXPECT_EQ(header.offset, 5U);
  EXPECT_EQ(header.length, 6U);
  const ByeTotals totals{42, microseconds(99)};
  EXPECT_EQ(ParseByeTotals(EncodeByeTotals(totals)), totals);
  EXPECT_FALSE(ParseByeTotals("short"));
}

}  // namespace
}  // namespace infinicache::wire
