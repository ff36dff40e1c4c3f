#include "pool/node_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <utility>

#include "base/bytes.h"

namespace infinicache::pool {
namespace {

class NodeMemoryTest : public testing::Test {
 protected:
  static SharedMemory Create(InstanceId instance) {
    auto memory = SharedMemory::Create(wire::MemoryName(instance), kMiB);
    EXPECT_TRUE(memory);
    return std::move(*memory);
  }
  static wire::NodeStatus StatusOf(InstanceId instance, const SharedMemory& memory) {
    wire::NodeStatus status;
    status.instance = instance;
    status.memory_pid = static_cast<std::uint32_t>(getpid());
    status.memory_fd = static_cast<std::uint32_t>(memory.fd());
    return status;
  }

  NodeMemory node_memory_;
};

TEST_F(NodeMemoryTest, IsMappedOnceForAllWhoAsk) {
  const SharedMemory memory = Create(InstanceId(1));
  const auto first = node_memory_.Map(StatusOf(InstanceId(1), memory));
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(node_memory_.Map(StatusOf(InstanceId(1), memory)), first);
  std::memcpy(memory.data(), "chunk", 5);
  EXPECT_EQ(std::memcmp(first->data(), "chunk", 5), 0);
}

TEST_F(NodeMemoryTest, TheNextInstanceHasAnother) {
  const SharedMemory one = Create(InstanceId(1));
  const auto first = node_memory_.Map(StatusOf(InstanceId(1), one));
  const SharedMemory two = Create(InstanceId(2));
  const auto second = node_memory_.Map(StatusOf(InstanceId(2), two));
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  EXPECT_NE(first, second);
}

TEST_F(NodeMemoryTest, IsUnmappedWhenNobodyHoldsIt) {
  const SharedMemory memory = Create(InstanceId(1));
  std::weak_ptr<const SharedMemory> mapped = node_memory_.Map(StatusOf(InstanceId(1), memory));
  EXPECT_TRUE(mapped.expired());
  EXPECT_NE(node_memory_.Map(StatusOf(InstanceId(1), memory)), nullptr);
}

TEST_F(NodeMemoryTest, WhatIsNotOfferedOrNotThereIsNotMapped) {
  EXPECT_EQ(node_memory_.Map(wire::NodeStatus{}), nullptr);
  const SharedMemory memory = Create(InstanceId(1));
  EXPECT_EQ(node_memory_.Map(StatusOf(InstanceId(2), memory)), nullptr);
}

}  // namespace
}  // namespace infinicache::pool
