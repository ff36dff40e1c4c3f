#include "app/node_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace infinicache::app {
namespace {

using testing::IsEmpty;
using testing::Ne;
using testing::Not;
using testing::SizeIs;

constexpr std::string_view kVersion = "1.2.3";

TEST(PoolShape, DiffersWithWhateverNodesAreStartedWithOrJudgedBy) {
  const Settings settings;
  const auto shape = PoolShape(settings, kVersion);
  EXPECT_EQ(PoolShape(settings, kVersion), shape);
  EXPECT_NE(PoolShape(settings, "1.2.4"), shape);
  Settings more_nodes;
  more_nodes.nodes = 17;
  EXPECT_NE(PoolShape(more_nodes, kVersion), shape);
  Settings more_memory;
  more_memory.node_memory *= 2;
  EXPECT_NE(PoolShape(more_memory, kVersion), shape);
  Settings other_preset;
  other_preset.preset = "lambda-like";
  EXPECT_NE(PoolShape(other_preset, kVersion), shape);
  Settings other_parity;  // by which torn writes are told from lost ones
  other_parity.parity_min = 2;
  EXPECT_NE(PoolShape(other_parity, kVersion), shape);
}

TEST(PoolShape, IsTheSameWhateverHelpsAfterACrash) {
  const auto shape = PoolShape(Settings(), kVersion);
  Settings settings;
  settings.log_level = "debug";
  settings.threads = 7;
  settings.max_clients = 1;
  settings.proxy_memory *= 2;
  EXPECT_EQ(PoolShape(settings, kVersion), shape);
}

TEST(MakeNodeHost, NodesEndWithAServerThatIsNotToBeOutlived) {
  Settings settings;
  settings.listen = {"127.0.0.1", 1};
  settings.node_survival = Duration(0);
  const NodeHost host = MakeNodeHost(settings, "/nonexistent", kVersion);
  EXPECT_EQ(host.processes, nullptr);
  EXPECT_THAT(host.survivors, IsEmpty());
  EXPECT_THAT(host.secret, SizeIs(64));
}

TEST(MakeNodeHost, NodesEndWithAServerThatCannotBeFoundAgain) {
  Settings settings;
  settings.listen = {"127.0.0.1", 0};
  EXPECT_EQ(MakeNodeHost(settings, "/nonexistent", kVersion).processes, nullptr);
}

TEST(MakeNodeHost, OtherwiseTheyHaveAGuardAndEveryPoolASecretOfItsOwn) {
  Settings settings;
  settings.listen = {"127.0.0.1", 1};
  const NodeHost host = MakeNodeHost(settings, "/nonexistent", kVersion);
  EXPECT_NE(host.processes, nullptr);
  EXPECT_THAT(host.secret, Not(IsEmpty()));
  EXPECT_THAT(MakeNodeHost(settings, "/nonexistent", kVersion).secret, Ne(host.secret));
}

}  // namespace
}  // namespace infinicache::app
