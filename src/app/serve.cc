#include "app/serve.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "admin/admin_server.h"
#include "app/node_host.h"
#include "app/preset_setting.h"
#include "app/reclaim_setting.h"
#include "app/redis_config.h"
#include "base/log.h"
#include "cache/cache.h"
#include "net/notification.h"
#include "net/signals.h"
#include "platform/local/local_platform.h"
#include "pool/pool.h"
#include "proxy/server.h"

namespace infinicache::app {
namespace {

// Of links within one machine: a node hands over a whole chunk of a 10 MB object at one wake-up.
// Half of it cost reads 5 % more CPU, a quarter 15 %; more brings nothing.
constexpr int kLocalLinkBufferBytes = 1024 * 1024;
// Descriptors that are neither clients' nor links': listeners, logs, pipes for splicing.
constexpr std::uint64_t kSpareDescriptors = 256;
constexpr Duration kReadyCheckEvery = std::chrono::milliseconds(10);
// Nodes that are late do not hold up "ready" for longer, if the others suffice for the code.
constexpr Duration kReadyPatience = std::chrono::seconds(3);
constexpr Duration kStartWarningAfter = std::chrono::seconds(20);
// Instances of a server that has crashed answer its successor at once, unless they hang; then they
// are ended.
constexpr Duration kAdoptPatience = std::chrono::seconds(5);
constexpr Duration kAdoptCheckEvery = std::chrono::milliseconds(2);
constexpr Duration kStopCheckEvery = std::chrono::milliseconds(2);
// Our own tasks end at once when their connections have; more than this is a bug.
constexpr Duration kTaskGrace = std::chrono::seconds(5);

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

// As many descriptors as the system allows. Returns how many.
std::uint64_t RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  const rlim_t soft = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : soft;
}

Status CheckNodeProgram(const std::string& path) {
  std::error_code ignored;
  const bool is_file = std::filesystem::is_regular_file(path, ignored);
  if (is_file && access(path.c_str(), X_OK) == 0) return {};
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("node-program {} cannot be run; leave --node-program out to take the "
                          "infinicache-node beside infinicache",
                          path));
}

// `error` of a listener, with the flag that changes its address.
tl::unexpected<Error> NameTheFlag(Error error, std::string_view flag) {
  error.message = error.code == ErrorCode::kInvalidArgument
                      ? fmt::format("{}: {}", flag, error.message)
                      : fmt::format("{} with {}", error.message, flag);
  return tl::make_unexpected(std::move(error));
}

// Everything that one server consists of, in the order in which it is made; destroyed in reverse,
// when no loop runs any more and no task is left.
class Service {
 public:
  Service(const LoadedSettings& loaded, std::string password, platform::LocalOptions local,
          NodeHost host, Prices prices, std::string_view version);

  Status Listen();
  // Serves until stopped.
  void Run();

 private:
  platform::LocalOptions LocalOptionsOf(platform::LocalOptions options) const;
  pool::PoolOptions PoolOptionsOf() const;
  cache::CacheOptions CacheOptionsOf() const;
  proxy::ServerOptions ServerOptionsOf(std::string password);

  void WarnOfRisks() const;
  void OnSignal(int signal);
  void Stop(const std::string& reason);
  net::Task<> StopInOrder();
  net::Task<> BeginService(std::vector<platform::Instance> adopted);
  net::Task<> RebuildFrom(std::vector<platform::Instance> adopted);
  net::Task<> AnnounceReady();
  void LogReady(std::size_t usable) const;
  // Calls `count` for each data loop, on its thread; resumes here with the answers. Nothing if they
  // did not come in time.
  net::Task<std::optional<std::vector<std::size_t>>> AskLoops(
      std::function<std::size_t(std::size_t loop)> count, TimePoint deadline);
  net::Task<bool> TasksEnded(TimePoint deadline);

  const LoadedSettings& loaded_;
  const Settings& settings_;
  const std::string version_;
  const Prices prices_;
  const std::string secret_;
  std::vector<platform::Survivor> survivors_;
  const std::uint64_t descriptors_ = RaiseDescriptorLimit();
  const SystemClock clock_;
  bool stopping_ = false;

  net::EventLoop control_{"control"};
  std::vector<std::unique_ptr<net::EventLoop>> loops_;
  std::unique_ptr<platform::LocalPlatform> platform_;
  std::unique_ptr<pool::Pool> pool_;
  std::unique_ptr<cache::Cache> cache_;
  std::unique_ptr<proxy::Server> server_;
  std::unique_ptr<admin::AdminServer> admin_;  // null: off
};

Service::Service(const LoadedSettings& loaded, std::string password, platform::LocalOptions local,
                 NodeHost host, Prices prices, std::string_view version)
    : loaded_(loaded),
      settings_(loaded.values),
      version_(version),
      prices_(std::move(prices)),
      secret_(std::move(host.secret)),
      survivors_(std::move(host.survivors)) {
  std::vector<net::EventLoop*> loops;
  for (std::uint64_t i = 0; i < settings_.EffectiveThreads(); ++i) {
    loops_.push_back(std::make_unique<net::EventLoop>(fmt::format("data-{}", i)));
    loops.push_back(loops_.back().get());
  }
  platform_ = std::make_unique<platform::LocalPlatform>(control_, LocalOptionsOf(std::move(local)),
                                                        std::move(host.processes));
  pool_ = std::make_unique<pool::Pool>(control_, *platform_, PoolOptionsOf());
  cache_ = std::make_unique<cache::Cache>(control_, *pool_, clock_, CacheOptionsOf(), loops);
  server_ = std::make_unique<proxy::Server>(control_, *cache_, *pool_,
                                            ServerOptionsOf(std::move(password)));
  if (settings_.admin) {
    admin_ = std::make_unique<admin::AdminServer>(
        control_, *cache_, *pool_, *server_,
        admin::AdminOptions{
            *settings_.admin,
            version_,
            settings_.platform,
            settings_.test_hooks,
            {settings_.preset, prices_.nodes, prices_.provisioned, prices_.storage}});
  }
}

// `options` has what had to be read and checked before.
platform::LocalOptions Service::LocalOptionsOf(platform::LocalOptions options) const {
  options.node_memory_bytes = settings_.node_memory;
  options.bandwidth_bytes_per_second = settings_.node_bandwidth;
  options.host_bandwidth_bytes_per_second = settings_.host_bandwidth;
  options.socket_buffer_bytes = kLocalLinkBufferBytes;
  options.secret = secret_;
  options.log_level = settings_.log_level;
  options.test_hooks = settings_.test_hooks;
  options.share_memory = settings_.shared_memory;
  ApplyPreset(settings_, prices_, options);
  options.seed = static_cast<std::uint64_t>(clock_.WallNow());
  return options;
}

pool::PoolOptions Service::PoolOptionsOf() const {
  pool::PoolOptions options;
  options.nodes = settings_.nodes;
  options.secret = secret_;
  options.map_memory = settings_.shared_memory;
  options.link_socket = {kLocalLinkBufferBytes, settings_.node_bandwidth};
  options.warm_up = WarmUpOptions(settings_);
  options.backup = BackupOptionsOf(settings_);
  options.billing = prices_.nodes.Billing();
  options.node_size = prices_.node_size;
  options.wake_deadline = settings_.wake_timeout;
  options.seed = static_cast<std::uint64_t>(clock_.WallNow());
  return options;
}

cache::CacheOptions Service::CacheOptionsOf() const {
  cache::CacheOptions options;
  options.code = settings_.code;
  options.object_bytes_max = settings_.max_object_size;
  options.budget_bytes_per_loop = settings_.ProxyMemoryPerThread();
  options.parity_min = settings_.EffectiveParityMin();
  options.repair = settings_.repair;
  options.repair_concurrency = settings_.repair_concurrency;
  options.repair_bytes_per_second = settings_.repair_bandwidth;
  options.eviction = *policy::ParseEvictionPolicy(settings_.maxmemory_policy);
  options.node_timeout = settings_.node_timeout;
  return options;
}

proxy::ServerOptions Service::ServerOptionsOf(std::string password) {
  // An instance has three pipes and pidfds here, a control link, and a link to each loop.
  const std::uint64_t instances = settings_.nodes * (BackupOptionsOf(settings_) ? 2 : 1);
  const std::uint64_t taken = kSpareDescriptors + instances * (loops_.size() + 4);
  const std::uint64_t left = descriptors_ > taken ? descriptors_ - taken : 1;
  proxy::ServerOptions options;
  options.listen = settings_.listen;
  options.max_clients = std::min(settings_.max_clients, left);
  if (options.max_clients < settings_.max_clients) {
    LOG_WARN("max-clients is {} instead of {}: the system allows {} open files (ulimit -Hn)",
             options.max_clients, settings_.max_clients, descriptors_);
  }
  options.client_timeout = settings_.client_timeout;
  options.password = std::move(password);
  options.version = version_;
  options.shutdown = [this] { Stop("a client sent SHUTDOWN"); };
  options.config = [rows = RedisConfig(settings_)] { return rows; };
  return options;
}

Status Service::Listen() {
  if (auto status = pool_->Listen(); !status) return status;
  if (auto status = server_->Listen(); !status) return NameTheFlag(status.error(), "--listen");
  if (!admin_) return {};
  if (auto status = admin_->Listen(); !status) return NameTheFlag(status.error(), "--admin");
  return {};
}

void Service::WarnOfRisks() const {
  const bool no_password = settings_.password.empty() && settings_.password_file.empty();
  if (no_password && !IsLoopback(settings_.listen.host)) {
    LOG_WARN("everybody who reaches {} can read and delete all objects: set password-file",
             settings_.listen.ToString());
  }
  if (settings_.admin && !IsLoopback(settings_.admin->host)) {
    LOG_WARN("the admin interface at {} asks for no password: keep it within a trusted network",
             settings_.admin->ToString());
  }
  const std::uint64_t pool_bytes = settings_.nodes * settings_.node_memory;
  const std::uint64_t machine_bytes = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                                      static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
  if (pool_bytes > machine_bytes) {
    LOG_WARN(
        "{} nodes x {} is more than this machine's {}: full nodes will be killed by the "
        "system; lower nodes or node-memory",
        settings_.nodes, FormatByteSize(settings_.node_memory), FormatByteSize(machine_bytes));
  }
  // Data chunks bound an object: each must fit into its node.
  const std::uint64_t largest = settings_.node_memory * settings_.code.data;
  if (settings_.max_object_size > largest && !loaded_.IsDefault("max-object-size")) {
    LOG_WARN(
        "max-object-size is {}, but {} nodes' memory holds no object above {}: raise "
        "node-memory, or widen the code",
        FormatByteSize(settings_.max_object_size), settings_.code.data, FormatByteSize(largest));
  }
  if (settings_.code.parity == 0) {
    LOG_WARN("code {} has no parity: an object is lost with any of its nodes",
             settings_.code.ToString());
  }
}

void Service::Run() {
  WarnOfRisks();
  const net::SignalWatch signals(control_, {SIGTERM, SIGINT},
                                 [this](int signal) { OnSignal(signal); });
  for (const auto& loop : loops_) loop->Start();
  cache_->Start();
  auto adopted = platform_->Adopt(std::move(survivors_));
  pool_->Start();
  if (admin_) admin_->Start();
  control_.Spawn(BeginService(std::move(adopted)));
  control_.Run();
  for (const auto& loop : loops_) loop->Stop();
  for (const auto& loop : loops_) loop->Join();
}

void Service::OnSignal(int signal) {
  Stop(signal == SIGINT ? "interrupted" : "terminated");
}

void Service::Stop(const std::string& reason) {
  if (std::exchange(stopping_, true)) return;
  LOG_INFO("stopping: {}", reason);
  platform_->BeginStop();
  // From here on a signal ends the process at once, even while this thread waits for nodes; they
  // end with it.
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
  control_.Spawn(StopInOrder());
}

net::Task<> Service::StopInOrder() {
  const Duration grace = settings_.stop_grace;
  const TimePoint begin = net::EventLoop::Now();
  server_->Stop();
  if (admin_) admin_->Stop();
  while (server_->clients() > 0 && net::EventLoop::Now() < begin + grace / 4)
    co_await control_.Sleep(kStopCheckEvery);
  cache_->Stop();
  pool_->Stop(grace / 2);
  if (!co_await TasksEnded(begin + grace + kTaskGrace)) {
    // What they hold cannot be taken from under them; nothing but memory is lost.
    LOG_ERROR("some tasks did not end; the process ends without them");
    std::_Exit(EXIT_FAILURE);
  }
  LOG_INFO("stopped");
  control_.Stop();
}

net::Task<bool> Service::TasksEnded(TimePoint deadline) {
  for (;;) {
    const auto tasks = co_await AskLoops(
        [this](std::size_t loop) { return loops_[loop]->active_tasks(); }, deadline);
    if (!tasks) co_return false;
    // One of this loop's tasks is the one that asks.
    if (std::accumulate(tasks->begin(), tasks->end(), control_.active_tasks()) == 1) co_return true;
    if (net::EventLoop::Now() >= deadline) co_return false;
    co_await control_.Sleep(kStopCheckEvery);
  }
}

net::Task<std::optional<std::vector<std::size_t>>> Service::AskLoops(
    std::function<std::size_t(std::size_t loop)> count, TimePoint deadline) {
  // Shared with the posted functions: one may come after the deadline.
  struct Answers {
    explicit Answers(net::EventLoop& control, std::size_t loops)
        : values(loops), missing(loops), complete(control) {}
    std::vector<std::size_t> values;
    std::size_t missing;
    net::Notification complete;
  };
  const auto answers = std::make_shared<Answers>(control_, loops_.size());
  for (std::size_t i = 0; i < loops_.size(); ++i) {
    loops_[i]->Post([this, answers, count, i] {
      control_.Post([answers, i, value = count(i)] {
        answers->values[i] = value;
        if (--answers->missing == 0) answers->complete.Notify();
      });
    });
  }
  if (!co_await answers->complete.Wait(deadline)) co_return std::nullopt;
  co_return answers->values;
}

// Clients that connect before wait in the listener's queue.
net::Task<> Service::BeginService(std::vector<platform::Instance> adopted) {
  if (!adopted.empty()) co_await RebuildFrom(std::move(adopted));
  if (stopping_) co_return;
  server_->Start();
  co_await AnnounceReady();
}

// Returns when clients may be served; the rebuild goes on.
net::Task<> Service::RebuildFrom(std::vector<platform::Instance> adopted) {
  for (const auto& instance : adopted) pool_->BeginAdoption(instance.node);
  const TimePoint deadline = net::EventLoop::Now() + kAdoptPatience;
  std::vector<pool::Place> places;
  while (!stopping_ && !adopted.empty() && net::EventLoop::Now() < deadline) {
    std::erase_if(adopted, [&](const platform::Instance& instance) {
      const pool::Place place = pool_->PlaceOf(instance);
      if (place.IsNowhere() && platform_->Has(instance)) return false;
      pool_->EndAdoption(instance.node, !place.IsNowhere());
      if (!place.IsNowhere()) places.push_back(place);
      return true;
    });
    if (!adopted.empty()) co_await control_.Sleep(kAdoptCheckEvery);
  }
  if (stopping_) co_return;
  for (const auto& instance : adopted) {
    pool_->EndAdoption(instance.node, false);
    platform_->Abandon(instance);
  }
  LOG_INFO("adopted {} of {} nodes of a server that has crashed", places.size(), settings_.nodes);
  co_await cache_->Adopt(std::move(places));
}

net::Task<> Service::AnnounceReady() {
  const TimePoint begin = net::EventLoop::Now();
  bool warned = false;
  while (!stopping_) {
    const auto connected = co_await AskLoops(
        [this](std::size_t loop) { return cache_->worker(loop).links().available(); },
        net::EventLoop::Now() + kReadyPatience);
    const TimePoint now = net::EventLoop::Now();
    const std::size_t usable =
        connected ? *std::min_element(connected->begin(), connected->end()) : 0;
    const std::size_t needed =
        now - begin < kReadyPatience ? settings_.nodes : settings_.code.width();
    if (stopping_) co_return;
    if (usable >= needed) {
      LogReady(usable);
      co_return;
    }
    if (now - begin > kStartWarningAfter && !std::exchange(warned, true)) {
      LOG_WARN("only {} of {} nodes are up, too few for code {}; still trying", usable,
               settings_.nodes, settings_.code.ToString());
    }
    co_await control_.Sleep(kReadyCheckEvery);
  }
}

void Service::LogReady(std::size_t usable) const {
  const std::string nodes = usable == settings_.nodes
                                ? fmt::to_string(usable)
                                : fmt::format("{} of {}", usable, settings_.nodes);
  LOG_INFO("ready: redis://{}, admin {}, {} nodes x {}, code {}", server_->address().ToString(),
           admin_ ? "http://" + admin_->address().ToString() : "off", nodes,
           FormatByteSize(settings_.node_memory), settings_.code.ToString());
}

}  // namespace

Status Serve(const LoadedSettings& loaded, std::string_view version) {
  const Settings& settings = loaded.values;
  // A client that left makes writes fail with EPIPE; the signal must not end the server.
  std::signal(SIGPIPE, SIG_IGN);
  auto password = ReadPassword(settings);
  if (!password) return tl::make_unexpected(password.error());
  auto node_program = settings.node_program.empty() ? platform::FindNodeProgram()
                                                    : Result<std::string>(settings.node_program);
  if (!node_program) return tl::make_unexpected(node_program.error());
  if (auto status = CheckNodeProgram(*node_program); !status) return status;

  auto reclaim = LoadReclaimModel(settings.reclaim);
  if (!reclaim) return tl::make_unexpected(reclaim.error());
  auto prices = LoadPrices(settings);
  if (!prices) return tl::make_unexpected(prices.error());

  platform::LocalOptions local;
  local.node_program = std::move(*node_program);
  local.reclaim = std::move(*reclaim);
  NodeHost host = MakeNodeHost(settings, local.node_program, version);
  Service service(loaded, std::move(*password), std::move(local), std::move(host),
                  std::move(*prices), version);
  if (auto status = service.Listen(); !status) return status;
  service.Run();
  return {};
}

}  // namespace infinicache::app
