// For tests: a cache on real nodes, all on one thread.
//
//   ClusterForTest cluster;                       // 14 nodes, code 10+2
//   const ObjectRef object = cluster.Put("key", value);
//   EXPECT_EQ(cluster.Read(object).bytes, value);
//
// The nodes are servers on loopback sockets. Control and data share one event loop, which runs
// while one of the functions waits and at no other time. Nodes named in Options::apart live on a
// loop of their own, which Stall() stops: they neither read nor answer then, as a stopped process.
//
// With Options::mapped the proxy maps the nodes' memory, as of nodes that stand on its machine;
// with Options::lends it writes there too.
//
// With Options::sleeping the nodes are functions: their sessions end soon after the last request.
//
// Crash() ends the proxy but not the nodes, in the middle of whatever it did; Restart() makes
// another one that rebuilds its directory from them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "cache/cache.h"
#include "cache/object_writer.h"
#include "cache/send_object.h"
#include "net/testing.h"
#include "node/node_server.h"
#include "pool/pool.h"
#include "wire/inventory.h"

namespace infinicache::cache {

inline constexpr std::string_view kSecretForTest = "the cluster's secret";

inline std::string ContentForTest(std::uint64_t seed, std::size_t bytes) {
  Random random(seed);
  std::string content(bytes, '\0');
  for (char& byte : content) byte = static_cast<char>(random());
  return content;
}

// Its instances are servers on the test's loops.
class PlatformForTest final : public platform::Platform {
 public:
  PlatformForTest(net::EventLoop& control, net::EventLoop& apart, std::set<std::uint32_t> set_apart,
                  std::uint64_t node_bytes, bool sleeping, bool mapped)
      : control_(control), apart_(apart), set_apart_(std::move(set_apart)) {
    traits_.same_host = mapped;
    traits_.node_memory_bytes = node_bytes;
    traits_.standing = !sleeping;
  }

  const platform::Traits& traits() const override { return traits_; }
  void set_observer(platform::Observer* observer) override { observer_ = observer; }
  void Invoke(NodeId node, const platform::Invocation& invocation) override {
    if (servers_.contains(node)) {  // a proxy that was restarted finds it
      control_.Post([this, node] { observer_->OnInstanceReady(instances_[node]); });
      LoopOf(node).Post(
          [&server = *servers_[node], session = invocation.session] { server.Invoke({session}); });
      sessions_[node] = invocation.session;
      return;
    }
    sessions_[node] = invocation.session;
    if (!reviving) return;
    node::NodeOptions options;
    options.memory_bytes = traits_.node_memory_bytes;
    options.node = node;
    options.secret = kSecretForTest;
    options.test_hooks = true;
    options.share_memory = traits_.same_host;
    if (!traits_.standing) {
      options.session.standing = false;
      options.session.lifetime.idle_cost_per_second = 1;
      options.session.lifetime.invocation_cost = 0.01;  // worth 10 ms
      options.on_session_end = [this, node](SessionId session, wire::ByeTotals) {
        control_.Post([this, node, session] { observer_->OnSessionEnded(node, session, {}); });
      };
    }
    net::EventLoop& loop = LoopOf(node);
    auto server = std::make_unique<node::NodeServer>(loop, options);
    const Status started = server->Start();
    CHECK(started, "{}", started.error().message);
    instances_[node] = {node, server->instance(), server->address(), 0};
    loop.Post([&server = *server, session = invocation.session] { server.Invoke({session}); });
    servers_[node] = std::move(server);
    control_.Post([this, node] { observer_->OnInstanceReady(instances_[node]); });
  }
  void Stop(Duration) override {
    for (const auto& [node, server] : servers_) server->Stop();
  }

  Status Reclaim(NodeId node) override {
    if (!servers_.contains(node)) return Fail(ErrorCode::kNotFound, "no instance");
    control_.Post([this, node] { End(node, {true, "reclaimed"}); });
    return {};
  }

  // The instance of `node` ends, as by a kill.
  void End(NodeId node, const platform::InstanceEnd& end = {false, "killed by a test"}) {
    servers_[node]->Stop();
    retired_.push_back(std::move(servers_[node]));
    servers_.erase(node);
    platform::SessionEnd session_end;
    session_end.fault = Error{ErrorCode::kUnavailable, end.reason};
    session_end.reclaimed = end.reclaimed;
    observer_->OnSessionEnded(node, sessions_[node], session_end);
    observer_->OnInstanceEnded(instances_[node], end);
  }
  platform::InstanceCounts Count() const override { return {servers_.size(), 0, 0}; }

  std::vector<NodeId> Living() const {
    std::vector<NodeId> nodes;
    for (const auto& [node, server] : servers_) nodes.push_back(node);
    return nodes;
  }

  bool reviving = true;  // whether invocations lead to an instance
  // Does what `node` was invoked for while reviving was false.
  void Revive(NodeId node) { Invoke(node, {.session = sessions_[node]}); }

 private:
  net::EventLoop& LoopOf(NodeId node) {
    return set_apart_.contains(node.value()) ? apart_ : control_;
  }

  net::EventLoop& control_;
  net::EventLoop& apart_;
  const std::set<std::uint32_t> set_apart_;
  platform::Traits traits_;
  platform::Observer* observer_ = nullptr;
  std::map<NodeId, platform::Instance> instances_;
  std::map<NodeId, SessionId> sessions_;
  std::map<NodeId, std::unique_ptr<node::NodeServer>> servers_;
  std::vector<std::unique_ptr<node::NodeServer>> retired_;  // their connections end later
};

class ClusterForTest {
 public:
  struct Options {
    std::size_t nodes = 14;
    std::uint64_t node_bytes = 32 * kMiB;
    CacheOptions cache = {};
    std::set<std::uint32_t> apart = {};
    bool sleeping = false;
    bool mapped = false;  // the nodes' memory is
    bool lends = false;   // and they lend some of it
  };
  struct Reply {
    SendResult result;
    std::string bytes;
  };

  ClusterForTest() : ClusterForTest(Options{}) {}
  explicit ClusterForTest(Options options)
      : apart_(!options.apart.empty()),
        platform_(loop_, apart_loop_, options.apart, options.node_bytes, options.sleeping,
                  options.mapped),
        pool_(loop_, platform_, PoolOptions(options.nodes, options.lends)),
        lends_(options.lends),
        cache_(loop_, pool_, clock_, options.cache, loops_) {
    cache_.Start();
    pool_.Start();
    RunUntil([&] { return options.sleeping || worker().links().connected() == options.nodes; });
  }
  ~ClusterForTest() {
    stalled_ = false;
    if (second_) {
      second_->cache.Stop();
      second_->pool.Stop(Duration(0));
    }
    cache_.Stop();
    pool_.Stop(Duration(0));
    net::RunReady(loop_);
    RunUntil([this] { return loop_.active_tasks() + apart_loop_.active_tasks() == 0; });
  }

  net::EventLoop& loop() { return loop_; }
  pool::Pool& pool() { return second_ ? second_->pool : pool_; }
  Cache& cache() { return second_ ? second_->cache : cache_; }
  Worker& worker() { return cache().worker(0); }
  Directory& directory() { return cache().directory(); }
  ManualClock& clock() { return clock_; }
  const CacheStats& stats() const { return second_ ? second_->cache.stats() : cache_.stats(); }
  PlatformForTest& platform() { return platform_; }

  void RunUntil(const std::function<bool()>& done,
                std::source_location place = std::source_location::current()) {
    const TimePoint deadline = net::TestDeadline();
    while (!done()) {
      CHECK(net::EventLoop::Now() < deadline, "waited in vain at {}:{}", place.file_name(),
            place.line());
      if (!apart_) {
        loop_.context().run_one_until(deadline);
        continue;
      }
      if (!stalled_) apart_loop_.context().poll();
      loop_.context().run_one_for(std::chrono::microseconds(200));
      loop_.context().poll();
    }
  }
  template <typename T>
  T Run(net::Task<T> task, std::source_location place = std::source_location::current()) {
    net::Started<T> started(loop_, std::move(task));
    RunUntil([&] { return started.done(); }, place);
    return started.Get();
  }

  // What the proxy has not sent yet is lost with it. Once.
  void Crash() {
    cache_.Stop();
    cache_.worker(0).links().Stop();
    RunUntil([this] { return cache_.worker(0).links().connected() == 0; });
  }
  // Another proxy finds those nodes that live, and begins to rebuild its directory.
  void BeginRestart() {
    second_ = std::make_unique<Proxy>(*this);
    second_->cache.Start();
    second_->pool.Start();
    for (const NodeId node : platform_.Living()) pool().BeginAdoption(node);
    const bool stalled = std::exchange(stalled_, false);
    RunUntil([this] { return pool().active() == platform_.Count().busy; });
    for (const NodeId node : platform_.Living()) pool().EndAdoption(node, true);
    stalled_ = stalled;
    std::vector<pool::Place> places;
    for (std::uint32_t i = 0; i < pool().size(); ++i) {
      const pool::Epoch epoch(pool().shared(NodeId(i)).epoch);
      if (epoch != pool::Epoch()) places.push_back({NodeId(i), epoch});
    }
    loop_.Spawn(cache().Adopt(std::move(places)));
    net::RunReady(loop_);
  }
  void Restart() {
    BeginRestart();
    RunUntil([this] { return !cache().shared().rebuild.loading(); });
  }

  // The nodes set apart stop, as by SIGSTOP, or go on.
  void Stall(bool stalled) { stalled_ = stalled; }
  // The node's instance and its memory go; another comes soon if platform().reviving.
  void Kill(NodeId node) { platform_.End(node); }
  // The connection to the node breaks; the instance lives on.
  void CutLink(NodeId node) { worker().links().at(node).socket().Shutdown(); }

  Result<ObjectRef> TryPut(std::string_view key, std::string_view value) {
    auto written = Run(WriteObject(worker(), key, value));
    if (!written) return written;
    worker().Commit(*written, Directory::Condition::kAlways, false);
    return written;
  }
  ObjectRef Put(std::string_view key, std::string_view value) {
    auto written = TryPut(key, value);
    CHECK(written, "{}", written.error().message);
    return *written;
  }

  // What a client gets: bytes up to the end of the reply.
  Reply Read(const ObjectRef& object, std::uint64_t offset, std::uint64_t length) {
    net::SocketPair pair = net::ConnectedPair(loop_);
    auto bytes = std::make_shared<std::string>();
    net::Started<std::monostate> receive(loop_,
                                         net::WithValue(Receive(std::move(pair.dialer), bytes)));
    Reply reply;
    std::string output;
    {
      net::Socket client = std::move(pair.acceptor);
      reply.result = Run(SendObject(worker(), object, offset, length, client, output, "<", ">"));
    }
    RunUntil([&] { return receive.done(); });
    reply.bytes = *bytes + output;
    if (reply.result.outcome == SendResult::Outcome::kDone) {
      CHECK(reply.bytes.size() >= 2 && reply.bytes.front() == '<' && reply.bytes.back() == '>');
      reply.bytes = reply.bytes.substr(1, reply.bytes.size() - 2);
    }
    return reply;
  }
  Reply Read(const ObjectRef& object) { return Read(object, 0, object->bytes()); }

  static net::Task<> Receive(net::Socket socket, std::shared_ptr<std::string> bytes) {
    std::vector<std::byte> buffer(256 * kKiB);
    for (;;) {
      const auto count = co_await socket.ReadSome(std::span(buffer));
      if (!count || *count == 0) co_return;
      bytes->append(reinterpret_cast<const char*>(buffer.data()), *count);
    }
  }

  // The node forgets the chunk, and the directory does not know.
  void RemoveChunk(const ObjectRef& object, std::size_t index) {
    const ChunkId chunk = object->chunk(index);
    CHECK(Ask(object->place(index).node, wire::FrameType::kDelete, chunk,
              wire::EncodeChunkList({&chunk, 1})) == wire::FrameType::kDeleted);
  }
  void FlipBit(const ObjectRef& object, std::size_t index, std::uint64_t byte) {
    CHECK(Ask(object->place(index).node, wire::FrameType::kCorruptForTest, object->chunk(index), {},
              byte) == wire::FrameType::kPong);
  }

  // The chunks that the node lists (one page of them); none if there is no link to it.
  std::vector<wire::InventoryEntry> InventoryOf(NodeId node) {
    Answer answer;
    pool::Link& link = worker().links().at(node);
    if (!link.connected()) return {};
    link.Send(wire::EncodeInventoryRequest(link.Register(&answer), std::nullopt));
    RunUntil([&] { return answer.type != wire::FrameType::kHello; });
    auto entries = wire::ParseInventoryPage(*answer.payload);
    CHECK(entries, "{}", entries.error().message);
    return std::move(*entries);
  }
  // What the nodes have noted as the expiry of the key's chunks, one for each chunk.
  std::vector<WallMillis> ExpiriesOnNodes(std::string_view key) {
    std::vector<WallMillis> expiries;
    for (std::uint32_t i = 0; i < pool().size(); ++i) {
      for (const wire::InventoryEntry& entry : InventoryOf(NodeId(i)))
        if (entry.meta.key == key) expiries.push_back(entry.meta.expires_at_ms);
    }
    return expiries;
  }

  std::uint64_t ChunksOnNodes() {
    std::uint64_t chunks = 0;
    for (const pool::NodeShared& node : pool().shared()) chunks += node.chunks;
    return chunks;
  }
  std::uint64_t BytesOnNodes() {
    std::uint64_t bytes = 0;
    for (const pool::NodeShared& node : pool().shared()) bytes += node.bytes_used;
    return bytes;
  }
  // Waits until every node sleeps.
  void AwaitSleep() {
    RunUntil([this] {
      const auto nodes = pool().shared();
      return std::all_of(nodes.begin(), nodes.end(), [](const pool::NodeShared& node) {
        return node.state == pool::NodeState::kAsleep;
      });
    });
  }
  std::uint64_t BytesReserved() {
    std::uint64_t bytes = 0;
    for (const pool::NodeShared& node : pool().shared()) bytes += node.bytes_reserved;
    return bytes;
  }
  std::size_t OpenRequests() {
    std::size_t requests = 0;
    for (const auto& link : worker().links().all()) requests += link->requests();
    return requests;
  }
  // Waits until no node holds a byte, and nothing is under way.
  void AwaitNothingLeft(std::source_location place = std::source_location::current()) {
    RunUntil(
        [this] {
          return ChunksOnNodes() == 0 && BytesOnNodes() == 0 && BytesReserved() == 0 &&
                 OpenRequests() == 0 && worker().budget().used() == 0 &&
                 cache().shared().reclaimer->pending() == 0;
        },
        place);
  }

 private:
  class Answer final : public pool::FrameSink {
   public:
    Target OnData(pool::Link&, const wire::FrameHeader& header) override {
      payload->resize(header.payload_bytes);
      return {Target::Kind::kMemory, reinterpret_cast<std::byte*>(payload->data()), payload};
    }
    void OnFrame(pool::Link& link, const wire::FrameHeader& header) override {
      type = header.type;
      link.Forget(header.request);
    }
    void OnLinkLost(pool::Link&, std::uint64_t) override { CHECK(false, "the link was lost"); }
    std::shared_ptr<std::string> payload = std::make_shared<std::string>();
    wire::FrameType type = wire::FrameType::kHello;
  };

  wire::FrameType Ask(NodeId node, wire::FrameType type, const ChunkId& chunk, std::string meta,
                      std::uint64_t offset = 0) {
    Answer answer;
    pool::Link& link = worker().links().at(node);
    wire::FrameHeader header;
    header.type = type;
    header.request = link.Register(&answer);
    header.chunk = chunk;
    header.offset = offset;
    link.Send(header, std::move(meta));
    RunUntil([&] { return answer.type != wire::FrameType::kHello; });
    return answer.type;
  }
  static pool::PoolOptions PoolOptions(std::size_t nodes, bool lends) {
    pool::PoolOptions options;
    options.nodes = nodes;
    options.map_memory = true;
    options.borrow_memory = lends;
    options.secret = kSecretForTest;
    options.seed = 5;
    return options;
  }

  net::EventLoop loop_{"test"};
  net::EventLoop apart_loop_{"apart"};
  const bool apart_;
  bool stalled_ = false;
  ManualClock clock_;
  PlatformForTest platform_;
  pool::Pool pool_;
  const bool lends_;
  std::vector<net::EventLoop*> loops_{&loop_};
  Cache cache_;
  struct Proxy {
    explicit Proxy(ClusterForTest& of)
        : pool(of.loop_, of.platform_, PoolOptions(of.pool_.size(), of.lends_)),
          cache(of.loop_, pool, of.clock_, of.cache_.options(), of.loops_) {}
    pool::Pool pool;
    Cache cache;
  };
  std::unique_ptr<Proxy> second_;
};

// The nodes' memory is mapped, and what is lost stays lost.
inline ClusterForTest::Options MappedForTest() {
  ClusterForTest::Options options;
  options.mapped = true;
  options.cache.repair = false;
  return options;
}

}  // namespace infinicache::cache
