#include "wire/sync_frames.h"

#include <gtest/gtest.h>

#include <chrono>

#include "wire/frame_for_test.h"

namespace infinicache::wire {
namespace {

using std::chrono::microseconds;

TEST(SyncFrames, ACommandArrivesAsItWasSent) {
  SyncCommand sent{SessionId(7),         InstanceId(0xABCD), true,           true,
                   microseconds(12'345), 1'000'000,          {std::byte{9}}, "127.0.0.1:4000"};
  EXPECT_EQ(DecodeSync(OverTheWire(EncodeSync(sent)), EncodeSyncTarget(sent)), sent);
  sent.is_source = sent.by_relay = false;
  sent.address.clear();
  EXPECT_EQ(DecodeSync(OverTheWire(EncodeSync(sent)), EncodeSyncTarget(sent)), sent);
}

TEST(SyncFrames, ACommandWithoutATokenIsRefused) {
  EXPECT_FALSE(DecodeSync(EncodeSync({}), "too short"));
  EXPECT_FALSE(DecodeSync(EncodeSync({}), std::string(16 + kSyncAddressBytesMax + 1, 'x')));
}

TEST(SyncFrames, AReportTellsItsTotals) {
  const SyncReport sent{SessionId(9), ErrorCode::kUnavailable, {1, 2, 3, 4, 5, 6}};
  const auto report =
      DecodeSyncReport(OverTheWire(EncodeSyncReport(sent)), EncodeSyncTotals(sent.totals));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->session, sent.session);
  EXPECT_EQ(report->failure, sent.failure);
  EXPECT_EQ(report->totals, sent.totals);
  EXPECT_FALSE(DecodeSyncReport(EncodeSyncReport(sent), "short"));
}

TEST(SyncFrames, AStateTellsWhoseCopyItIs) {
  const SyncState state{InstanceId(3), 44, true};
  const FrameHeader header = OverTheWire(EncodeSyncState(FrameType::kSyncState, 5, state));
  EXPECT_EQ(header.request, 5U);
  EXPECT_EQ(DecodeSyncState(header), state);
  EXPECT_FALSE(DecodeSyncState(EncodeSyncState(FrameType::kSyncState, 5, {})).complete);
}

}  // namespace
}  // namespace infinicache::wire
