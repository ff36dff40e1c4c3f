// The operator's HTTP interface: probes, metrics, a JSON API and a dashboard.
//
//   GET  /                             dashboard, one page without outside assets
//   GET  /healthz                      200 while the control loop turns
//   GET  /readyz                       200 when d+p nodes are active, else 503 with the reason
//   GET  /metrics                      Prometheus text (admin/metrics.h)
//   GET  /api/v1/status                admin/json.h, as the next two
//   GET  /api/v1/nodes
//   GET  /api/v1/doctor                what is at risk, and what to expect (admin/doctor.h)
//   GET  /api/v1/cost                  what the pool costs (admin/cost.h)
//   GET  /api/v1/events?after=N&limit=L&wait_ms=W  life-cycle events with a number above N (0), at
//                                      most L (1000); if there is none yet, answers when one comes,
//                                      or after W milliseconds (0, at most kEventsWaitMax).
//                                      With Accept: text/event-stream, or ?stream=1, they are
//                                      streamed as they happen (admin/event_stream.h); 503 beyond
//                                      EventStreams::kStreamsMax streams
//   GET  /api/v1/objects/{key}         the key percent-encoded
//   POST /api/v1/test/reclaim?node=I   has the platform take the node's instance away; as the next
//   two POST /api/v1/test/repeat?node=I    has the platform run the invocation of the node's
//   session once
//                                      more, in another instance; 503 if the node is in none
//   POST /api/v1/test/corrupt?key=K&chunk=I&byte=N    flips a bit of a stored chunk; only with
//                                      AdminOptions::test_hooks
//
// Everything else is 404, a wrong method 405, both with {"error": …}. HEAD works where GET does. It
// has no authentication: listen on an address that only operators reach.
//
// Thread-safety: construction, Listen, Start and Stop on the control loop, where requests are
// answered too; the data loops are asked for their memory figures and never waited for longer than
// kLoopAnswerAtMost.
#pragma once

#include <string>
#include <vector>

#include "admin/corrupt_chunk.h"
#include "admin/cost.h"
#include "admin/event_stream.h"
#include "admin/system_view.h"
#include "base/result.h"
#include "cache/cache.h"
#include "net/event_loop.h"
#include "net/http_server.h"
#include "net/socket.h"
#include "net/task.h"
#include "pool/pool.h"
#include "proxy/server.h"

namespace infinicache::admin {

struct AdminOptions {
  net::HostPort listen{"127.0.0.1", 6380};
  std::string version;
  std::string platform;  // its name: "local"
  bool test_hooks = false;
  CostTerms cost = {};
};

class AdminServer {
 public:
  static constexpr Duration kLoopAnswerAtMost = std::chrono::milliseconds(500);
  static constexpr Duration kEventsWaitMax = std::chrono::seconds(30);
  static constexpr Duration kNodeAnswerAtMost = std::chrono::seconds(5);

  // REQUIRES: all arguments outlive the server; it outlives its requests, so the control loop has
  // ended, or Stop was called and the longest of the times above has passed.
  AdminServer(net::EventLoop& control, cache::Cache& cache, pool::Pool& pool, proxy::Server& front,
              AdminOptions options);

  // Errors: as net::Listener::Listen.
  Status Listen() { return http_.Listen(options_.listen); }
  void Start() { http_.Start(); }
  void Stop() {
    stopping_ = true;
    http_.Stop();
  }
  net::HostPort address() const { return http_.address(); }

 private:
  net::Task<net::HttpResponse> Answer(const net::HttpRequest& request);
  net::Task<net::HttpResponse> Dispatch(const net::HttpRequest& request);
  net::HttpResponse Readiness() const;
  net::Task<net::HttpResponse> Doctor();
  net::Task<net::HttpResponse> Events(const net::HttpRequest& request);
  net::HttpResponse StreamEvents(const net::HttpRequest& request);
  CostView Cost() const;
  std::vector<pool::NodeView> Nodes() const;
  // Does `act` to the node that the query names.
  net::HttpResponse ActOnNode(const net::HttpRequest& request, Status (pool::Pool::*act)(NodeId));
  net::HttpResponse DescribeObject(std::string_view key);
  net::Task<net::HttpResponse> CorruptChunk(const net::HttpRequest& request);
  net::Task<SystemView> View();
  net::Task<std::vector<LoopMemory>> MeasureLoops();

  net::EventLoop& control_;
  cache::Cache& cache_;
  pool::Pool& pool_;
  proxy::Server& front_;
  const AdminOptions options_;
  const WallMillis started_at_;
  bool stopping_ = false;
  EventStreams streams_;
  net::HttpServer http_;
};

}  // namespace infinicache::admin
