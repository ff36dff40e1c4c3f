#include "policy/backup.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/bytes.h"

namespace infinicache::policy {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr TimePoint kStart = TimePoint(hours(5));

BackupInterval::Options Fixed(Duration interval) {
  BackupInterval::Options options;
  options.adaptive = false;
  options.interval = interval;
  return options;
}

TEST(BackupInterval, TheFixedOneIsThePapersWhateverHappens) {
  BackupInterval interval(Fixed(minutes(5)));
  interval.OnReclaimed();
  EXPECT_EQ(interval.For(0), minutes(5));
  EXPECT_EQ(interval.For(kGiB), minutes(5));
}

TEST(BackupInterval, TheMeanLifetimeIsThatOfThePriorUntilMoreIsKnown) {
  BackupInterval interval({});
  EXPECT_EQ(interval.MeanLifetime(), hours(1));
  interval.OnLived(hours(9));
  EXPECT_EQ(interval.MeanLifetime(), hours(10));
  for (int i = 0; i < 19; ++i) interval.OnReclaimed();
  EXPECT_EQ(interval.MeanLifetime(), minutes(30));
}

TEST(BackupInterval, InstancesThatLiveShortlyAreBackedUpMoreOften) {
  BackupInterval calm({});
  calm.OnLived(hours(1000));
  BackupInterval rough({});
  rough.OnLived(hours(1000));
  for (int i = 0; i < 2000; ++i) rough.OnReclaimed();
  EXPECT_LT(rough.For(100 * kMiB), calm.For(100 * kMiB));
}

TEST(BackupInterval, ItIsYoungs) {
  BackupInterval::Options options;
  options.round_cost = seconds(1);
  options.bytes_per_second = 1'000'000;
  options.lifetime_prior = seconds(10'000);
  options.max = hours(10);
  // sqrt(2 * (1 + 7) * 10000)
  EXPECT_EQ(BackupInterval(options).For(7'000'000), seconds(400));
}

TEST(BackupInterval, StaysWithinItsLimits) {
  BackupInterval interval({});
  EXPECT_EQ(interval.For(std::uint64_t{1} << 60), minutes(30));
  for (int i = 0; i < 1'000'000; ++i) interval.OnReclaimed();
  EXPECT_EQ(interval.For(0), seconds(30));
}

TEST(NodeBackup, AnEmptyNodeAndACleanOneAreNeverDue) {
  Random random(1);
  const BackupInterval interval(Fixed(minutes(5)));
  const NodeBackup backup(kStart, random);
  EXPECT_FALSE(backup.Next(interval, {}, {}));
  EXPECT_FALSE(backup.Next(interval, {.chunks = 3, .changes = 0, .bytes = 0}, {}));
  EXPECT_FALSE(backup.Next(interval, {.chunks = 0, .changes = 9, .bytes = 100}, {}));
  EXPECT_TRUE(backup.Next(interval, {.chunks = 1, .changes = 1, .bytes = 0}, {}));
}

TEST(NodeBackup, NodesOfOneTimeAreSpreadOverHalfTheFirstInterval) {
  Random random(2);
  const BackupInterval interval(Fixed(minutes(4)));
  int early = 0;
  for (int i = 0; i < 100; ++i) {
    const NodeBackup backup(kStart, random);
    const TimePoint next = *backup.Next(interval, {1, 1, 1}, {});
    EXPECT_GE(next, kStart + minutes(2));
    EXPECT_LE(next, kStart + minutes(4));
    early += next < kStart + minutes(3) ? 1 : 0;
  }
  EXPECT_GT(early, 30);
  EXPECT_LT(early, 70);
}

TEST(NodeBackup, TheIntervalBeginsWithTheFirstChange) {
  Random random(5);
  const BackupInterval interval(Fixed(minutes(4)));
  NodeBackup backup(kStart, random);
  backup.OnClean(kStart + hours(1));
  EXPECT_GE(*backup.Next(interval, {1, 1, 1}, {}), kStart + hours(1) + minutes(2));
}

TEST(NodeBackup, ARoundBeginsTheIntervalAnew) {
  Random random(3);
  const BackupInterval interval(Fixed(minutes(5)));
  NodeBackup backup(kStart, random);
  backup.OnRound(true, kStart + minutes(20), kStart + minutes(20), random);
  const TimePoint next = *backup.Next(interval, {1, 1, 1}, {});
  EXPECT_GE(next, kStart + minutes(24));
  EXPECT_LE(next, kStart + minutes(25));
}

TEST(NodeBackup, AFailedRoundIsTriedAgainSoonAndEverLessOften) {
  Random random(4);
  const BackupInterval interval(Fixed(minutes(5)));
  NodeBackup backup(kStart, random);
  Duration last{0};
  for (int i = 0; i < 40; ++i) {
    backup.OnRound(false, kStart, kStart, random);
    const Duration wait = *backup.Next(interval, {1, 1, 1}, {}) - kStart;
    EXPECT_GE(wait, i < 6 ? last : Duration(minutes(4)) * (i > 8 ? 1 : 0));
    EXPECT_LE(wait, minutes(5));
    last = wait;
  }
  backup.OnRound(true, kStart, kStart, random);
  EXPECT_GE(*backup.Next(interval, {1, 1, 1}, {}), kStart + minutes(4));
}

constexpr Dirt kClean{.chunks = 3, .changes = 0, .bytes = 0};

TEST(NodeBackup, ThePeerOfANodeThatDoesNotChangeIsKeptWarm) {
  Random random(6);
  const BackupInterval interval(Fixed(hours(1)));
  for (int i = 0; i < 100; ++i) {
    NodeBackup backup(kStart, random);
    EXPECT_FALSE(backup.Next(interval, kClean, minutes(10))) << "there is none yet";
    backup.OnRound(true, kStart, kStart + minutes(1), random);
    backup.OnClean(kStart + minutes(5));
    const TimePoint next = *backup.Next(interval, kClean, minutes(10));
    EXPECT_GE(next, kStart + Duration(minutes(10)) / 100 * 85);
    EXPECT_LE(next, kStart + minutes(9)) << "before the primary's own warm-up";
    EXPECT_FALSE(backup.Next(interval, kClean, {})) << "it is left alone without warm-ups";
    EXPECT_FALSE(backup.Next(interval, {}, minutes(10))) << "an empty node has nothing to lose";
  }
}

TEST(NodeBackup, TheEarlierOfBackupAndWarmUpIsDue) {
  Random random(7);
  NodeBackup backup(kStart, random);
  backup.OnRound(true, kStart, kStart, random);
  EXPECT_LE(*backup.Next(BackupInterval(Fixed(minutes(5))), {1, 1, 1}, hours(1)),
            kStart + minutes(5));
  EXPECT_LE(*backup.Next(BackupInterval(Fixed(hours(1))), {1, 1, 1}, minutes(5)),
            kStart + minutes(5));
}

TEST(NodeBackup, APeerThatCannotBeWokenIsTriedAgainSoonAndEverLessOften) {
  Random random(8);
  const BackupInterval interval(Fixed(minutes(5)));
  NodeBackup backup(kStart, random);
  backup.OnRound(true, kStart, kStart, random);
  TimePoint now = kStart + minutes(10);
  for (int i = 0; i < 10; ++i) {
    backup.OnRound(false, now, now, random);
    backup.OnClean(now + seconds(1));
    const TimePoint next = *backup.Next(interval, kClean, minutes(10));
    EXPECT_GE(next, now + std::min(Duration(minutes(4)), Duration(seconds(1)) * (1 << i)));
    EXPECT_LE(next, now + minutes(5));
    now = next;
  }
}

}  // namespace
}  // namespace infinicache::policy
