#include "policy/session_lifetime.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <chrono>

#include "base/bytes.h"
#include "base/random.h"

namespace infinicache::policy {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using Opening = SessionLifetime::Opening;

constexpr TimePoint kStart{seconds(5000)};

TimePoint At(Duration elapsed) {
  return kStart + elapsed;
}

// Billed by 100 ms, of a function with one core.
SessionLifetime::Options AlignedOptions() {
  return {.quantum = milliseconds(100), .safety_buffer = milliseconds(2)};
}

// Billed by 1 ms: one invocation costs as much as 100 ms awake.
SessionLifetime::Options FineOptions() {
  return {.quantum = milliseconds(1), .idle_cost_per_second = 1, .invocation_cost = 0.1};
}

SessionLifetime Started(SessionLifetime::Options options, Opening opening = Opening::kRequest) {
  SessionLifetime lifetime(options);
  lifetime.Start(kStart, kStart, opening);
  return lifetime;
}

void Serve(SessionLifetime& lifetime, Duration from, Duration to) {
  ASSERT_TRUE(lifetime.OnRequestStarted(At(from)));
  lifetime.OnRequestFinished(At(to));
}

TEST(SessionLifetime, TakesBufferAndWindowFromTheFunctionsMemory) {
  struct Row {
    std::uint64_t mebibytes;
    Duration window;
    Duration buffer;
  };
  const Row rows[] = {{128, seconds(10), milliseconds(10)}, {895, seconds(10), milliseconds(10)},
                      {896, seconds(1), milliseconds(10)},  {1791, seconds(1), milliseconds(10)},
                      {1792, seconds(1), milliseconds(2)},  {10240, seconds(1), milliseconds(2)}};
  for (const Row& row : rows) {
    SCOPED_TRACE(row.mebibytes);
    EXPECT_EQ(SessionLifetime::PreflightWindow(row.mebibytes * kMiB), row.window);
    EXPECT_EQ(SessionLifetime::SafetyBuffer(row.mebibytes * kMiB), row.buffer);
  }
}

// due = ceil((elapsed + extension) / 100 ms) * 100 ms - buffer, in milliseconds.
TEST(SessionLifetime, ReproducesTheTimerOfThePaperForEverySizeOfFunction) {
  struct Row {
    std::uint64_t mebibytes;
    int preflight_at;
    int preflight_due;  // the window is open
    int warm_up_at;     // elapsed before the handler runs
    int warm_up_due;
    int first_at;
    int first_due;
    int second_at;
    int second_due;
  };
  const Row rows[] = {
      {512, 0, 9990, 0, 90, 13, 90, 15, 190},        {512, 1, 10090, 90, 90, 90, 90, 90, 190},
      {512, 5, 10090, 91, 190, 91, 190, 95, 190},    {1024, 0, 990, 0, 90, 13, 90, 15, 190},
      {1024, 1, 1090, 95, 190, 95, 190, 100, 190},   {1536, 50, 1090, 89, 90, 89, 90, 101, 290},
      {3008, 0, 998, 0, 98, 13, 98, 15, 198},        {3008, 1, 1098, 98, 98, 98, 98, 98, 198},
      {3008, 100, 1098, 99, 198, 99, 198, 250, 398},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(testing::Message() << row.mebibytes << " MiB, first at " << row.first_at);
    SessionLifetime::Options options = AlignedOptions();
    options.safety_buffer = SessionLifetime::SafetyBuffer(row.mebibytes * kMiB);
    options.preflight_window = SessionLifetime::PreflightWindow(row.mebibytes * kMiB);

    SessionLifetime lifetime = Started(options);
    ASSERT_TRUE(lifetime.OnPreflight(At(milliseconds(row.preflight_at))));
    EXPECT_EQ(lifetime.due(), At(milliseconds(row.preflight_due)));

    lifetime.Start(kStart, At(milliseconds(row.warm_up_at)), Opening::kWarmUp);
    EXPECT_EQ(lifetime.due(), At(milliseconds(row.warm_up_due)));

    lifetime.Start(kStart, kStart, Opening::kRequest);
    Serve(lifetime, milliseconds(0), milliseconds(row.first_at));
    EXPECT_EQ(lifetime.due(), At(milliseconds(row.first_due)));
    Serve(lifetime, milliseconds(row.first_at), milliseconds(row.second_at));
    EXPECT_EQ(lifetime.due(), At(milliseconds(row.second_due)));
  }
}

TEST(SessionLifetime, TheInvocationOpensTheWindowOfAPreflight) {
  EXPECT_EQ(Started(AlignedOptions()).due(), At(milliseconds(998)));
}

TEST(SessionLifetime, EndsWhenItIsDueAndIdleAndNotBefore) {
  SessionLifetime lifetime = Started(AlignedOptions());
  Serve(lifetime, milliseconds(1), milliseconds(13));
  const auto early = lifetime.Check(At(milliseconds(97)));
  EXPECT_FALSE(early.ended);
  EXPECT_EQ(early.next, At(milliseconds(98)));
  EXPECT_TRUE(lifetime.Check(At(milliseconds(98))).ended);
  EXPECT_FALSE(lifetime.running());
}

TEST(SessionLifetime, AfterItsEndEverythingIsRefused) {
  SessionLifetime lifetime = Started(AlignedOptions(), Opening::kWarmUp);
  ASSERT_TRUE(lifetime.Check(At(milliseconds(98))).ended);
  EXPECT_FALSE(lifetime.Accepts(At(milliseconds(98))));
  EXPECT_FALSE(lifetime.OnPreflight(At(milliseconds(99))));
  EXPECT_FALSE(lifetime.OnRequestStarted(At(milliseconds(99))));
  lifetime.Start(At(seconds(60)), At(seconds(60)), Opening::kRequest);
  EXPECT_TRUE(lifetime.OnRequestStarted(At(seconds(60))));
}

TEST(SessionLifetime, DoesNotCutARequestInFlightAndRearmsByTheLastExtension) {
  SessionLifetime lifetime = Started(AlignedOptions());
  Serve(lifetime, milliseconds(1), milliseconds(13));
  ASSERT_TRUE(lifetime.OnRequestStarted(At(milliseconds(90))));
  // By the buffer, as after the first request; and it does not spin.
  auto verdict = lifetime.Check(At(milliseconds(98)));
  EXPECT_FALSE(verdict.ended);
  EXPECT_EQ(verdict.next, At(milliseconds(198)));
  verdict = lifetime.Check(At(milliseconds(198)));
  EXPECT_FALSE(verdict.ended);
  EXPECT_EQ(verdict.next, At(milliseconds(298)));
  lifetime.OnRequestFinished(At(milliseconds(205)));
  EXPECT_FALSE(lifetime.Check(At(milliseconds(298))).ended);
  EXPECT_TRUE(lifetime.Check(At(milliseconds(398))).ended);
}

TEST(SessionLifetime, AThawPastItsEndEndsAnIdleSessionAndRearmsABusyOne) {
  for (const auto& options : {AlignedOptions(), FineOptions()}) {
    SessionLifetime idle = Started(options);
    Serve(idle, milliseconds(1), milliseconds(2));
    EXPECT_TRUE(idle.Check(At(seconds(61))).ended);

    SessionLifetime busy = Started(options);
    ASSERT_TRUE(busy.OnRequestStarted(At(milliseconds(1))));
    const auto verdict = busy.Check(At(seconds(61)));
    EXPECT_FALSE(verdict.ended);
    EXPECT_GT(verdict.next, At(seconds(61)));
    EXPECT_TRUE(busy.Accepts(At(seconds(61))));
    busy.OnRequestFinished(At(seconds(62)));
    EXPECT_TRUE(busy.Check(At(seconds(63))).ended);
  }
}

TEST(SessionLifetime, AThawPastThePlatformsMaximumEndsEvenABusySession) {
  SessionLifetime lifetime = Started(AlignedOptions());
  ASSERT_TRUE(lifetime.OnRequestStarted(At(milliseconds(1))));
  EXPECT_TRUE(lifetime.Check(At(minutes(16))).ended);
}

TEST(SessionLifetime, StopsToAcceptOnlyAtTheMaximumLessTheBufferAndEndsWhenItIsIdle) {
  SessionLifetime::Options options = AlignedOptions();
  options.maximum = seconds(3);
  SessionLifetime lifetime = Started(options);
  const Duration last = seconds(3) - milliseconds(2);
  ASSERT_TRUE(lifetime.OnRequestStarted(At(last - Duration(1))));
  EXPECT_FALSE(lifetime.Accepts(At(last)));
  EXPECT_FALSE(lifetime.OnRequestStarted(At(last)));
  EXPECT_FALSE(lifetime.OnPreflight(At(last)));
  const auto draining = lifetime.Check(At(last));
  EXPECT_FALSE(draining.ended);
  EXPECT_EQ(draining.next, At(seconds(3) - milliseconds(1)));
  lifetime.OnRequestFinished(At(last + microseconds(10)));
  EXPECT_TRUE(lifetime.Check(At(last + microseconds(10))).ended);
}

TEST(SessionLifetime, DrainsEarlierWhereTheOperatorWantsTimeForWhatIsInFlight) {
  SessionLifetime::Options options = FineOptions();
  options.maximum = seconds(30);
  options.drain = seconds(5);
  SessionLifetime lifetime = Started(options);
  const Duration last = seconds(25) - milliseconds(10);
  EXPECT_TRUE(lifetime.Accepts(At(last - Duration(1))));
  EXPECT_FALSE(lifetime.Accepts(At(last)));
  ASSERT_TRUE(lifetime.OnRequestStarted(At(last - Duration(1))));
  EXPECT_FALSE(lifetime.Check(At(seconds(29))).ended);
  EXPECT_TRUE(lifetime.Check(At(seconds(30) - milliseconds(5))).ended);
}

TEST(SessionLifetime, WaitsForAnAnnouncedRequestForTheBreakEvenTimeWhereEveryMillisecondCosts) {
  SessionLifetime lifetime = Started(FineOptions());
  EXPECT_NEAR(static_cast<double>((lifetime.due() - At(milliseconds(100))).count()), 0, 10);
  // Round trips that are short so far do not make it leave before the request.
  for (int i = 0; i < 50; ++i) lifetime.ObserveRoundTrip(milliseconds(5));
  ASSERT_TRUE(lifetime.OnPreflight(At(milliseconds(10))));
  EXPECT_NEAR(static_cast<double>((lifetime.due() - At(milliseconds(110))).count()), 0, 10);
}

TEST(SessionLifetime, WaitsForAnAnnouncedRequestAsLongAsARoundTripWhereAnInvocationIsFree) {
  SessionLifetime::Options options = FineOptions();
  options.invocation_cost = 0;
  SessionLifetime lifetime = Started(options);
  EXPECT_EQ(lifetime.due(), At(milliseconds(20)));
  for (int i = 0; i < 50; ++i) lifetime.ObserveRoundTrip(milliseconds(5));
  ASSERT_TRUE(lifetime.OnPreflight(At(milliseconds(10))));
  EXPECT_GE(lifetime.due(), At(milliseconds(15)));
  EXPECT_LT(lifetime.due(), At(milliseconds(17)));
}

// Whose requests come rarely, so that an answer alone is no reason to stay.
SessionLifetime UsedRarely() {
  SessionLifetime lifetime(FineOptions());
  for (int i = 0; i < 50; ++i) {
    const Duration from = (i - 60) * seconds(10);
    lifetime.Start(At(from), At(from), Opening::kRequest);
    Serve(lifetime, from, from + milliseconds(1));
  }
  lifetime.Start(kStart, kStart, Opening::kRequest);
  return lifetime;
}

TEST(SessionLifetime, WaitsForAReaderThatTookAPartOfAChunkForTheBreakEvenTime) {
  SessionLifetime lifetime = UsedRarely();
  Serve(lifetime, milliseconds(1), milliseconds(5));
  ASSERT_LT(lifetime.due(), At(milliseconds(30)));
  lifetime.OnMoreExpected(At(milliseconds(5)));
  EXPECT_NEAR(static_cast<double>((lifetime.due() - At(milliseconds(105))).count()), 0, 10);
}

TEST(SessionLifetime, PromisesNoLongerThanItStaysAfterAnAnswer) {
  SessionLifetime lifetime = UsedRarely();
  ASSERT_GT(lifetime.due(), At(milliseconds(90)));
  const TimePoint promised = lifetime.Promise(At(milliseconds(1)));
  EXPECT_EQ(promised, At(milliseconds(21)));  // a round trip
  Serve(lifetime, milliseconds(2), milliseconds(3));
  EXPECT_GE(lifetime.due(), promised);
  EXPECT_LT(lifetime.due(), At(milliseconds(30)));
}

TEST(SessionLifetime, AWarmUpEndsAtOnceWhereEveryMillisecondCosts) {
  SessionLifetime lifetime = Started(FineOptions(), Opening::kWarmUp);
  EXPECT_TRUE(lifetime.Check(kStart).ended);
}

TEST(SessionLifetime, WaitsForTheNextRequestForTheBreakEvenTimeUntilItKnowsBetter) {
  SessionLifetime lifetime = Started(FineOptions());
  Serve(lifetime, milliseconds(1), milliseconds(5));
  EXPECT_NEAR(static_cast<double>((lifetime.due() - At(milliseconds(105))).count()), 0, 10);

  // Gaps of ten seconds, each in a session of its own.
  for (int i = 1; i <= 50; ++i) {
    const Duration from = i * seconds(10);
    lifetime.Start(At(from), At(from), Opening::kRequest);
    Serve(lifetime, from, from + milliseconds(1));
  }
  EXPECT_EQ(lifetime.due(), At(seconds(500) + milliseconds(21)));  // a round trip
}

TEST(SessionLifetime, StaysAwakeForItsIdleLimitWhereTimeIsFree) {
  SessionLifetime lifetime = Started({.quantum = Duration(0), .idle_max = seconds(90)});
  Serve(lifetime, milliseconds(1), milliseconds(5));
  EXPECT_EQ(lifetime.due(), At(seconds(90) + milliseconds(5)));
}

TEST(SessionLifetime, PromisesTheCurrentQuantumOnlySinceAnAnswerMayEndTheWindow) {
  SessionLifetime lifetime = Started(AlignedOptions());
  EXPECT_EQ(lifetime.Promise(At(milliseconds(3))), At(milliseconds(98)));
  Serve(lifetime, milliseconds(4), milliseconds(5));
  EXPECT_EQ(lifetime.due(), At(milliseconds(98)));
}

TEST(SessionLifetime, KeepsAPromiseThatALaterAnswerWouldShorten) {
  SessionLifetime::Options options = FineOptions();
  options.invocation_cost = 0;  // never worth to wait
  SessionLifetime lifetime = Started(options);
  const TimePoint promised = lifetime.Promise(kStart);
  EXPECT_EQ(promised, At(milliseconds(20)));
  for (int i = 0; i < 50; ++i) lifetime.ObserveRoundTrip(Duration(0));
  Serve(lifetime, milliseconds(1), milliseconds(2));
  EXPECT_FALSE(lifetime.Check(promised - Duration(1)).ended);
  EXPECT_TRUE(lifetime.Check(promised).ended);
}

TEST(SessionLifetime, TotalsCountTheRequestsOfThisSessionAndItsTime) {
  SessionLifetime lifetime = Started(AlignedOptions());
  Serve(lifetime, milliseconds(1), milliseconds(2));
  Serve(lifetime, milliseconds(3), milliseconds(4));
  EXPECT_EQ(lifetime.totals(At(milliseconds(9))).requests, 2U);
  EXPECT_EQ(lifetime.totals(At(milliseconds(9))).elapsed, milliseconds(9));
  lifetime.Start(At(seconds(9)), At(seconds(9)), Opening::kRequest);
  EXPECT_EQ(lifetime.totals(At(seconds(9))).requests, 0U);
}

// Random events by a seed; a watcher of what the header promises.
class LifetimeWatch {
 public:
  LifetimeWatch(SessionLifetime::Options options, std::uint64_t seed)
      : options_(options), random_(seed), lifetime_(options) {
    lifetime_.Start(now_, now_, random_.Below(2) == 0 ? Opening::kRequest : Opening::kWarmUp);
    verdict_.next = lifetime_.due();
  }

  void RunToTheEnd() {
    for (int i = 0; !verdict_.ended; ++i) {
      RC_ASSERT(i < 100'000);
      const TimePoint event = now_ + Duration(random_.Below(60'000'000));
      // The timer is never late here: promises and ends are exact.
      if (verdict_.next <= event) {
        CheckAt(verdict_.next);
      } else {
        now_ = event;
        Step();
        if (!verdict_.ended) CheckAt(now_);
      }
    }
  }

 private:
  void Step() {
    const bool accepts = lifetime_.Accepts(now_);
    switch (random_.Below(5)) {
      case 0:
        RC_ASSERT(lifetime_.OnPreflight(now_) == accepts);
        break;
      case 1:
        RC_ASSERT(lifetime_.OnRequestStarted(now_) == accepts);
        break;
      case 2:
        lifetime_.ObserveRoundTrip(Duration(random_.Below(30'000'000)));
        break;
      case 3:
        promised_ = std::max(promised_, lifetime_.Promise(now_));
        break;
      default:
        if (lifetime_.in_flight() > 0) lifetime_.OnRequestFinished(now_);
    }
  }

  void CheckAt(TimePoint now) {
    now_ = now;
    verdict_ = lifetime_.Check(now);
    const Duration elapsed = now - kStart;
    RC_ASSERT(elapsed < options_.maximum);
    if (!verdict_.ended) {
      RC_ASSERT(verdict_.next > now);
      return;
    }
    const bool given_up = elapsed >= options_.maximum - options_.safety_buffer / 2;
    RC_ASSERT(given_up || lifetime_.in_flight() == 0);
    RC_ASSERT(now >= promised_);
  }

  SessionLifetime::Options options_;
  Random random_;
  SessionLifetime lifetime_;
  SessionLifetime::Verdict verdict_;
  TimePoint now_ = kStart;
  TimePoint promised_ = kStart;
};

RC_GTEST_PROP(SessionLifetimeProperty, CutsNothingKeepsItsPromisesAndEndsInTimeForEveryQuantum,
              (std::uint64_t seed)) {
  SessionLifetime::Options options = FineOptions();
  options.quantum = *rc::gen::element<Duration>(Duration(0), milliseconds(1), milliseconds(11),
                                                milliseconds(100), seconds(1));
  options.maximum = *rc::gen::element<Duration>(milliseconds(300), seconds(2), seconds(20));
  options.drain = *rc::gen::element<Duration>(Duration(0), milliseconds(100));
  options.idle_cost_per_second = *rc::gen::element(0.0, 1.0, 10.0);
  LifetimeWatch(options, seed).RunToTheEnd();
}

}  // namespace
}  // namespace infinicache::policy
