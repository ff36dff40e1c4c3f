#include "admin/admin_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <span>
#include <utility>

#include "admin/call_on.h"
#include "admin/dashboard.h"
#include "admin/doctor.h"
#include "admin/json.h"
#include "admin/metrics.h"
#include "admin/routes.h"
#include "base/resident_memory.h"
#include "proxy/command.h"

namespace infinicache::admin {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kEventsDefault = 1000;
constexpr Duration kEventsPoll = milliseconds(50);

using net::HttpRequest;
using net::HttpResponse;
using net::Task;

HttpResponse Text(int status, std::string body) {
  return {.status = status, .body = std::move(body)};
}

HttpResponse Json(int status, std::string body) {
  return {.status = status, .content_type = "application/json", .body = body + "\n"};
}

HttpResponse JsonError(int status, std::string_view reason) {
  return Json(status, ErrorJson(reason));
}

HttpResponse JsonError(const Error& error) {
  return JsonError(HttpStatusFor(error.code), error.message);
}

HttpResponse NoRoute(const Route& route) {
  if (route.allow.empty()) return JsonError(404, "no such page; see / and /api/v1/status");
  HttpResponse response =
      JsonError(405, fmt::format("this method is not allowed here; use {}", route.allow));
  response.headers.emplace_back("Allow", route.allow);
  return response;
}

HttpResponse Dashboard() {
  HttpResponse response{.content_type = "text/html; charset=utf-8", .body = kDashboardHtml};
  response.headers.emplace_back(
      "Content-Security-Policy",
      "default-src 'none'; style-src 'unsafe-inline'; script-src "
      "'unsafe-inline'; img-src data:; connect-src 'self'; frame-ancestors 'none'");
  return response;
}

// Commands that read or write values: those of the group "string".
std::uint64_t ValueCommands(std::span<const proxy::CommandStats> stats) {
  const std::span<const proxy::CommandSpec> commands = proxy::Commands();
  std::uint64_t calls = 0;
  for (std::size_t i = 0; i < stats.size(); ++i)
    if (commands[i].group == "string") calls += Read(stats[i].calls);
  return calls;
}

// On the worker's loop.
Task<LoopMemory> MeasureLoop(cache::Worker& worker, std::size_t index) {
  co_return LoopMemory{index, worker.budget().used(), worker.budget().limit(),
                       worker.buffers().bytes_reserved()};
}

}  // namespace

AdminServer::AdminServer(net::EventLoop& control, cache::Cache& cache, pool::Pool& pool,
                         proxy::Server& front, AdminOptions options)
    : control_(control),
      cache_(cache),
      pool_(pool),
      front_(front),
      options_(std::move(options)),
      started_at_(cache.shared().clock.WallNow()),
      streams_(control, pool.events()),
      http_(control, [this](const HttpRequest& request) { return Answer(request); }) {}

Task<HttpResponse> AdminServer::Answer(const HttpRequest& request) {
  HttpResponse response = co_await Dispatch(request);
  response.headers.emplace_back("Cache-Control", "no-store");
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  co_return response;
}

Task<HttpResponse> AdminServer::Dispatch(const HttpRequest& request) {
  const Route route = FindRoute(request.method, request.target.path, options_.test_hooks);
  if (!route.endpoint) co_return NoRoute(route);
  switch (*route.endpoint) {
    case Endpoint::kDashboard:
      co_return Dashboard();
    case Endpoint::kHealth:
      co_return Text(200, "ok\n");
    case Endpoint::kReady:
      co_return Readiness();
    case Endpoint::kNodes:
      co_return Json(200, NodesJson(Nodes()));
    case Endpoint::kDoctor:
      co_return co_await Doctor();
    case Endpoint::kCost:
      co_return Json(200, CostJson(Cost()));
    case Endpoint::kEvents:
      if (WantsEventStream(request)) co_return StreamEvents(request);
      co_return co_await Events(request);
    case Endpoint::kReclaim:
      co_return ActOnNode(request, &pool::Pool::Reclaim);
    case Endpoint::kRepeat:
      co_return ActOnNode(request, &pool::Pool::RepeatInvocation);
    case Endpoint::kObject:
      co_return DescribeObject(route.rest);
    case Endpoint::kCorruptChunk:
      co_return co_await CorruptChunk(request);
    case Endpoint::kStatus:
    case Endpoint::kMetrics:
      break;
  }
  const SystemView view = co_await View();
  if (*route.endpoint == Endpoint::kStatus) co_return Json(200, StatusJson(view));
  co_return HttpResponse{.content_type = kMetricsContentType, .body = RenderMetrics(view)};
}

HttpResponse AdminServer::Readiness() const {
  const coding::Code code = cache_.options().code;
  const std::size_t active = pool_.active();
  if (active >= code.width()) return Text(200, "ready\n");
  return Text(503, fmt::format("not ready: {} of {} nodes serve, code {} needs {}\n", active,
                               pool_.size(), code.ToString(), code.width()));
}

Task<HttpResponse> AdminServer::Doctor() {
  DoctorView view;
  view.risk = co_await cache_.SurveyRisk();
  view.code = cache_.options().code;
  view.nodes = pool_.size();
  view.nodes_active = pool_.active();
  const auto nodes = Nodes();
  view.backups_failing = static_cast<std::size_t>(
      std::count_if(nodes.begin(), nodes.end(), [](const pool::NodeView& node) {
        return node.backup && node.backup->failures >= kFailingRounds;
      }));
  view.objects_lost = cache_.stats().gone.Lost();
  view.window = DoctorWindow(cache_.options().repair, cache_.longest_repair());
  view.losses_by_window = LossesByWindow(pool_.events().After(0, 2 * pool::EventLog::kEventsMax),
                                         view.window, started_at_, cache_.shared().clock.WallNow());
  co_return Json(200, DoctorJson(view));
}

Task<HttpResponse> AdminServer::Events(const HttpRequest& request) {
  const auto& query = request.target.query;
  const auto after = QueryNumber(query, "after", 0);
  const auto limit = QueryNumber(query, "limit", kEventsDefault, pool::EventLog::kEventsMax);
  const auto wait_ms = QueryNumber(query, "wait_ms", 0, kEventsWaitMax / milliseconds(1));
  for (const auto* number : {&after, &limit, &wait_ms})
    if (!*number) co_return JsonError(number->error());
  const TimePoint deadline = net::EventLoop::Now() + milliseconds(*wait_ms);
  const pool::EventLog& log = pool_.events();
  while (log.last_id() <= *after && !stopping_ && net::EventLoop::Now() < deadline)
    co_await control_.Sleep(kEventsPoll);
  co_return Json(200, EventsJson(log.After(*after, *limit), log.last_id()));
}

HttpResponse AdminServer::StreamEvents(const HttpRequest& request) {
  const auto after = StreamBegin(request, pool_.events().last_id());
  if (!after) return JsonError(after.error());
  auto claim = streams_.Claim();
  if (claim == nullptr) {
    return JsonError(503, fmt::format("{} streams of events are open, as many as there may be: "
                                      "close one, or ask without text/event-stream",
                                      EventStreams::kStreamsMax));
  }
  HttpResponse response{.content_type = "text/event-stream", .body = {}};
  response.stream = [this, claim = std::move(claim), begin = *after](net::HttpStream& stream) {
    return streams_.Run(stream, begin);
  };
  return response;
}

std::vector<pool::NodeView> AdminServer::Nodes() const {
  std::vector<pool::NodeView> nodes = pool_.View();
  if (const pool::Backups* backups = pool_.backups(); backups != nullptr)
    for (pool::NodeView& node : nodes) node.backup = backups->View(node.id);
  return nodes;
}

CostView AdminServer::Cost() const {
  policy::Meter meter = pool_.Metered();
  meter.AddRequests(ValueCommands(front_.command_stats()));
  return {.terms = options_.cost,
          .report = ReportCost(meter, pool_.uptime(), options_.cost),
          .instances = pool_.CountInstances(),
          .nodes = CountByState(pool_.View()),
          .warm_up_interval = pool_.warm_up_interval()};
}

HttpResponse AdminServer::ActOnNode(const HttpRequest& request, Status (pool::Pool::*act)(NodeId)) {
  if (!request.target.query.contains("node")) return JsonError(400, "name a node: ?node=3");
  const auto node =
      QueryNumber(request.target.query, "node", 0, std::numeric_limits<NodeId::Value>::max());
  if (!node) return JsonError(node.error());
  const NodeId id(static_cast<NodeId::Value>(*node));
  if (auto status = (pool_.*act)(id); !status) return JsonError(status.error());
  return Json(200, fmt::format(R"({{"node":{}}})", *node));
}

HttpResponse AdminServer::DescribeObject(std::string_view key) {
  const auto object = cache_.Describe(key);
  if (!object) return JsonError(404, "no object has this key");
  return Json(200, ObjectJson(*object));
}

Task<HttpResponse> AdminServer::CorruptChunk(const HttpRequest& request) {
  const auto wanted = ParseCorruptRequest(request.target.query);
  if (!wanted) co_return JsonError(wanted.error());
  const cache::ObjectRef object = cache_.directory().Find(wanted->key);
  if (object == nullptr) co_return JsonError(404, "no object has this key");
  if (wanted->chunk >= object->width()) {
    co_return JsonError(400, fmt::format("the object has chunks 0 to {}", object->width() - 1));
  }
  const std::uint64_t chunk_bytes = object->layout().ChunkBytes(wanted->chunk);
  if (wanted->byte >= chunk_bytes)
    co_return JsonError(400, fmt::format("the chunk has {} bytes", chunk_bytes));

  const pool::Place place = object->place(wanted->chunk);
  const TimePoint deadline = net::EventLoop::Now() + kNodeAnswerAtMost;
  cache::Worker& worker = cache_.worker(0);
  const auto flipped = co_await CallOn(
      control_, worker.loop(),
      FlipBitOnNode(worker, place, object->chunk(wanted->chunk), wanted->byte, deadline), deadline);
  if (!flipped) co_return JsonError(504, "the data loop did not answer in time");
  if (!*flipped) co_return JsonError(flipped->error());
  co_return Json(200, fmt::format(R"({{"node":{},"chunk":{},"byte":{}}})", place.node.value(),
                                  wanted->chunk, wanted->byte));
}

Task<SystemView> AdminServer::View() {
  // First, since the rest should be of one moment.
  auto loops = co_await MeasureLoops();
  cache::Directory& directory = cache_.directory();
  co_return SystemView{
      .version = options_.version,
      .run_id = front_.run_id(),
      .platform = options_.platform,
      .listen = front_.address().ToString(),
      .code = cache_.options().code,
      .started_at = started_at_,
      .uptime = net::EventLoop::Now() - front_.started_at(),
      .memory_rss_bytes = ResidentBytes(),
      .nodes_active = pool_.active(),
      .nodes = Nodes(),
      .objects = directory.size(),
      .object_bytes = directory.bytes(),
      .objects_expiring = directory.expiring(),
      .repairs_queued = cache_.repairs_queued(),
      .repair_bytes_queued = cache_.repair_bytes_queued(),
      .repair_bytes_per_second = cache_.repair_bytes_per_second(),
      .loading = cache_.shared().rebuild.loading(),
      .rebuilt_share = cache_.shared().rebuild.share(),
      .wakes = &pool_.wakes(),
      .backups = pool_.backups(),
      .clients = front_.clients(),
      .cost = Cost(),
      .loops = std::move(loops),
      .cache = cache_.stats(),
      .pool = pool_.stats(),
      .proxy = front_.stats(),
      .commands = front_.command_stats(),
  };
}

Task<std::vector<LoopMemory>> AdminServer::MeasureLoops() {
  const TimePoint deadline = net::EventLoop::Now() + kLoopAnswerAtMost;
  std::vector<LoopMemory> loops;
  for (std::size_t i = 0; i < cache_.workers(); ++i) {
    cache::Worker& worker = cache_.worker(i);
    const auto memory = co_await CallOn(control_, worker.loop(), MeasureLoop(worker, i), deadline);
    if (memory) loops.push_back(*memory);
  }
  co_return loops;
}

}  // namespace infinicache::admin
