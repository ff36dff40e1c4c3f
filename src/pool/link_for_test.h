// For tests of this module: the two ends that a link talks to, a sink that records and a node that
// does nothing by itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "net/frame_reader.h"
#include "net/handshake.h"
#include "net/socket.h"
#include "net/testing.h"
#include "pool/link.h"
#include "wire/frame.h"
#include "wire/node_status.h"

namespace infinicache::pool {

inline constexpr std::string_view kSecretForTest = "the pool's secret";

// Keeps what it is told.
class SinkForTest final : public FrameSink {
 public:
  Target OnData(Link& link, const wire::FrameHeader& header) override {
    if (kind == Target::Kind::kBorrow) borrowing = &link;
    if (kind != Target::Kind::kMemory) return {kind, nullptr, nullptr};
    return Memory(header.payload_bytes);
  }
  void OnFrame(Link& link, const wire::FrameHeader& header) override {
    frames.push_back(header);
    if (forgets) link.Forget(header.request);
  }
  void OnLinkLost(Link& link, std::uint64_t request) override {
    lost.push_back(request);
    borrowing = nullptr;
    if (on_lost) on_lost(link);
  }
  bool Borrows() const override { return borrows; }
  void OnBorrowContended(Link&) override { ++contended; }
  void OnBorrowReadable(Link&) override { ++readable; }

  // Room for `bytes` more behind what came before.
  Target Memory(std::size_t bytes) {
    auto memory = std::make_shared<std::string>(bytes, '\0');
    received.push_back(memory);
    auto* data = reinterpret_cast<std::byte*>(memory->data());
    return {Target::Kind::kMemory, data, std::move(memory)};
  }
  std::string Content() const {
    std::string content;
    for (const auto& part : received) content += *part;
    return content;
  }

  Target::Kind kind = Target::Kind::kMemory;
  bool borrows = false;
  bool forgets = false;  // a request that has an answer
  std::vector<std::shared_ptr<std::string>> received;
  std::vector<wire::FrameHeader> frames;
  std::vector<std::uint64_t> lost;
  std::function<void(Link&)> on_lost;
  Link* borrowing = nullptr;
  int contended = 0;
  int readable = 0;
};

// Accepts links and does nothing more with them unless it is told to.
class PassiveNodeForTest {
 public:
  explicit PassiveNodeForTest(net::EventLoop& loop) : loop_(loop), listener_(loop) {
    const Status listening = listener_.Listen({"127.0.0.1", 0});
    CHECK(listening, "{}", listening.error().message);
    loop.Spawn(Accept());
  }
  ~PassiveNodeForTest() {
    listener_.Close();
    RunReady(loop_);
  }

  net::HostPort address() const { return listener_.address(); }
  // Waits for the `count`-th link, from 1.
  net::Socket& AwaitLink(std::size_t count) {
    net::RunUntil(loop_, [&] { return links_.size() >= count; });
    return *links_[count - 1];
  }
  Status Authenticate(net::Socket& socket, const wire::NodeStatus& status) {
    net::FrameReader reader(socket, wire::kFrameHeaderBytes);
    const auto number = RunTask(loop_, net::HandshakeAsAcceptor(socket, reader, kSecretForTest,
                                                                status, net::TestDeadline()));
    if (!number) return tl::make_unexpected(number.error());
    return {};
  }

 private:
  net::Task<> Accept() {
    for (;;) {
      auto socket = co_await listener_.Accept(loop_);
      if (!socket) co_return;
      socket->Configure({});  // what is sent arrives at once
      links_.push_back(std::make_unique<net::Socket>(std::move(*socket)));
    }
  }

  net::EventLoop& loop_;
  net::Listener listener_;
  std::vector<std::unique_ptr<net::Socket>> links_;
};

}  // namespace infinicache::pool
