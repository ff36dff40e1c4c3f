#include "policy/life_simulation.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>

namespace infinicache::policy {
namespace {

constexpr std::uint64_t kLives = 3000;

// INFINICACHE_LIFE_SEED=n repeats one life, the one that a failure names.
std::uint64_t FirstSeed() {
  const char* seed = std::getenv("INFINICACHE_LIFE_SEED");
  return seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10);
}
std::uint64_t Lives() {
  return std::getenv("INFINICACHE_LIFE_SEED") == nullptr ? kLives : 1;
}

TEST(LifeSimulation, HoldsItsPromisesInEveryLife) {
  std::map<std::string, std::uint64_t> counts;
  for (std::uint64_t seed = FirstSeed(); seed < FirstSeed() + Lives(); ++seed) {
    const LifeSimulation::Result result = LifeSimulation::Run(seed);
    ASSERT_EQ(result.violation, "") << "repeat it by INFINICACHE_LIFE_SEED=" << seed;
    for (const auto& [what, count] : result.counts) counts[what] += count;
  }
  if (Lives() == 1) return;
  // A promise is worth what tried to break it.
  for (const char* what : {"answers",
                           "back-offs",
                           "crashes",
                           "duplicates",
                           "freezes",
                           "fresh instances",
                           "instances lost",
                           "invocations",
                           "invocations failed",
                           "invocations for backup",
                           "known instances",
                           "links cut",
                           "looks for the primary",
                           "peers gone",
                           "peers ready",
                           "peers that took over at once",
                           "peers that took over behind",
                           "peers turned primary",
                           "preflights",
                           "primaries found",
                           "reclaims",
                           "repeated invocations",
                           "requests given up",
                           "requeues",
                           "sessions",
                           "sessions killed",
                           "waiters failed",
                           "warm-ups"}) {
    EXPECT_GE(counts[what], kLives / 10) << what;
    RecordProperty(what, std::to_string(counts[what]));
  }
}

TEST(LifeSimulation, ASeedGivesTheSameLifeAgain) {
  EXPECT_EQ(LifeSimulation::Run(7).counts, LifeSimulation::Run(7).counts);
}

}  // namespace
}  // namespace infinicache::policy
