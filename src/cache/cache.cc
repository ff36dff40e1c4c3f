#include "cache/cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/log.h"
#include "cache/failover.h"
#include "cache/rebuilder.h"

namespace infinicache::cache {
namespace {

// Expired objects leave within about (objects / kSweepBatch) * kSweepEvery even if nobody asks for
// them.
constexpr Duration kSweepEvery = std::chrono::milliseconds(100);
constexpr std::size_t kSweepBatch = 2000;
// What left in bulk is told in sums of this long.
constexpr Duration kTellEvery = std::chrono::seconds(1);
constexpr std::size_t kEndedMax = 4096;

}  // namespace

Cache::Cache(net::EventLoop& control, pool::Pool& pool, const Clock& clock, CacheOptions options,
             std::span<net::EventLoop* const> loops)
    : control_(control), pool_(pool), shared_(clock, options), sweep_(control) {
  CHECK(!loops.empty());
  // Versions increase across restarts too: a restarted proxy's are later than any it made before.
  shared_.last_version = static_cast<std::uint64_t>(clock.WallNow()) << 20;
  shared_.repairs = std::make_unique<RepairQueue>(
      options.repair, [this](const ObjectRecord& object) { return Survey(object); },
      options.repair_bytes_per_second);
  for (net::EventLoop* loop : loops) {
    pool::LoopLinks& links = pool_.AddLoop(*loop);
    if (!reclaim_queue_) reclaim_queue_ = std::make_shared<ReclaimQueue>(links);
    workers_.push_back(
        std::make_unique<Worker>(shared_, *loop, links, shared_.last_version + workers_.size()));
  }
  const std::size_t repairers =
      options.repair_concurrency == 0 ? loops.size() : options.repair_concurrency;
  for (std::size_t i = 0; i < repairers; ++i)
    repairers_.push_back(std::make_unique<Repairer>(*workers_[i % workers_.size()]));
  shared_.reclaimer = reclaim_queue_;
  shared_.repairs->set_wake([this] {
    // One sleeping repairer is enough: each goes on until the queue is empty.
    const std::size_t next =
        next_repairer_.fetch_add(1, std::memory_order_relaxed) % repairers_.size();
    repairers_[next]->loop().Post([&repairer = *repairers_[next]] { repairer.Wake(); });
  });
  pool_.set_on_instance_lost(
      [this](NodeId node, pool::Epoch epoch, InstanceId id) { OnInstanceLost(node, epoch, id); });
  pool_.set_newest_version([this] { return Version(shared_.last_version.load()); });
  pool_.set_on_failover([this](NodeId node, pool::Epoch epoch) { OnFailover(node, epoch); });
}

Cache::~Cache() = default;

void Cache::Start() {
  for (const auto& repairer : repairers_) repairer->loop().Spawn(repairer->Run());
  SweepExpired();
}

void Cache::Stop() {
  stopping_ = true;
  sweep_.Cancel();
  for (const auto& worker : workers_) worker->loop().Post([&w = *worker] { w.Stop(); });
  for (const auto& repairer : repairers_) repairer->loop().Post([&r = *repairer] { r.Stop(); });
  workers_[0]->loop().Post([queue = reclaim_queue_] { queue->Stop(); });
}

net::Task<> Cache::Adopt(std::vector<pool::Place> instances) {
  constexpr Duration kPoll = std::chrono::milliseconds(2);
  shared_.rebuild.Start();
  pool_.mutable_events().Add(shared_.clock.WallNow(), pool::EventKind::kRebuildStarted,
                             fmt::format("from {} of {} nodes", instances.size(), pool_.size()));
  control_.Spawn(Rebuild(std::move(instances)));
  while (!shared_.rebuild.versions_known() && !stopping_) co_await control_.Sleep(kPoll);
}

net::Task<> Cache::Rebuild(std::vector<pool::Place> instances) {
  constexpr Duration kPoll = std::chrono::milliseconds(5);
  const TimePoint begin = net::EventLoop::Now();
  const std::size_t lost = pool_.size() - instances.size();
  const auto run = [](Worker& worker, std::vector<pool::Place> places,
                      std::size_t nodes_lost) -> net::Task<> {
    Rebuilder rebuilder(worker, std::move(places), nodes_lost);
    co_await rebuilder.Run();
  };
  workers_[0]->loop().Spawn(run(*workers_[0], std::move(instances), lost));
  while (shared_.rebuild.loading() && !stopping_) co_await control_.Sleep(kPoll);
  if (stopping_) co_return;
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(net::EventLoop::Now() - begin);
  const CacheStats& stats = shared_.stats;
  const std::string summary =
      fmt::format("{} objects, {} from {} chunks in {} ms; {} chunks freed",
                  Read(stats.objects_rebuilt), FormatByteSize(Read(stats.bytes_rebuilt)),
                  Read(stats.chunks_listed), millis.count(), Read(stats.orphans_freed));
  LOG_INFO("directory rebuilt: {}", summary);
  pool_.mutable_events().Add(shared_.clock.WallNow(), pool::EventKind::kRebuilt, summary);
}

std::optional<ObjectView> Cache::Describe(std::string_view key) {
  const ObjectRef record = directory().Find(key);
  if (record == nullptr) return std::nullopt;
  const coding::StripeLayout& layout = record->layout();
  ObjectView view{record->key(),
                  record->bytes(),
                  record->version(),
                  layout.code,
                  layout.strip_bytes,
                  record->expires_at(),
                  {}};
  for (std::size_t i = 0; i < record->width(); ++i) {
    const pool::Place place = record->place(i);
    view.chunks.push_back(
        {i, i >= layout.code.data, place.node, IsAlive(place), layout.ChunkBytes(i)});
  }
  return view;
}

void Cache::OnInstanceLost(NodeId node, pool::Epoch epoch, InstanceId instance) {
  const pool::Place lost{node, epoch};
  if (ended_.size() == kEndedMax) ended_.pop_front();
  ended_.emplace_back(lost, instance);
  RepairLostOn(node);
}

// Runs on the control loop, which carries no user traffic: the scan may take its time.
void Cache::RepairLostOn(NodeId node) {
  if (!repairing_since_) repairing_since_ = net::EventLoop::Now();
  std::uint64_t cursor = 0;
  do {
    cursor = directory().Scan(cursor, 1000, [&](const ObjectRef& object) {
      for (std::size_t i = 0; i < object->width(); ++i) {
        const pool::Place place = object->place(i);
        if (place.node == node && !place.IsNowhere() && !IsAlive(place))
          shared_.repairs->Add(object);
      }
    });
  } while (cursor != 0);
}

void Cache::OnFailover(NodeId node, pool::Epoch epoch) {
  Worker& worker = *workers_[node.value() % workers_.size()];
  worker.loop().Spawn(FailOver(worker, {node, epoch}));
}

net::Task<> Cache::FailOver(Worker& worker, pool::Place taken) {
  Failover failover(worker, taken);
  co_await failover.Run();
  if (worker.stopping()) co_return;
  control_.Post([this, taken, kept = failover.kept(), listed = failover.listed()] {
    EndFailover(taken, kept, listed);
  });
  if (!co_await failover.FreeOrphans()) co_return;
  control_.Post([this, taken] { pool_.TellSince(taken.node, taken.epoch); });
}

void Cache::EndFailover(pool::Place taken, std::uint64_t kept, std::uint64_t listed) {
  if (stopping_ || !pool_.EndFailover(taken.node, taken.epoch)) return;
  LOG_INFO("failover done node={}: {} of {} chunks are current", taken.node.value(), kept, listed);
  RepairLostOn(taken.node);
}

bool Cache::IsAlive(pool::Place place) const {
  return !place.IsNowhere() && pool_.shared(place.node).Holds(place.epoch);
}

RepairNeed Cache::Survey(const ObjectRecord& object) const {
  RepairNeed need;
  std::size_t surviving = 0;
  for (std::size_t i = 0; i < object.width(); ++i) {
    if (IsAlive(object.place(i))) {
      ++surviving;
    } else {
      need.missing_bytes += object.layout().ChunkBytes(i);
    }
  }
  const std::size_t needed = object.layout().code.data;
  need.lost = surviving < needed;
  need.spare = need.lost ? 0 : surviving - needed;
  return need;
}

void Cache::TellGone() {
  const GoneLog::News news = shared_.gone.Take();
  for (const GoneLog::Loss& loss : news.losses) TellLoss(loss);
  for (std::size_t i = 0; i < kGoneCauses; ++i) {
    const GoneLog::Sum& sum = news.others[i];
    if (sum.objects == 0) continue;
    const std::string_view cause = GoneCauseName(static_cast<GoneCause>(i));
    pool_.mutable_events().Add(
        shared_.clock.WallNow(), pool::EventKind::kObjectsGone,
        {.cause = cause, .objects = sum.objects, .bytes = sum.bytes},
        fmt::format("{} {}, {}", sum.objects, cause, FormatByteSize(sum.bytes)));
  }
}

void Cache::TellLoss(const GoneLog::Loss& loss) {
  const std::string_view cause = GoneCauseName(loss.cause);
  pool::ObjectsGone gone{.cause = cause, .key = loss.key, .objects = 1, .bytes = loss.bytes};
  std::string nodes;
  for (const pool::Place place : loss.chunks) {
    gone.instances.push_back({place.node, InstanceAt(place)});
    nodes += fmt::format("{}{}", nodes.empty() ? "" : ", ", place.node.value());
  }
  const std::string detail = fmt::format("{}, {}, {}; its chunks were on nodes {}", loss.key,
                                         FormatByteSize(loss.bytes), cause, nodes);
  pool_.mutable_events().Add(shared_.clock.WallNow(), pool::EventKind::kObjectLost, std::move(gone),
                             detail);
}

// 0: it ended long ago.
InstanceId Cache::InstanceAt(pool::Place place) const {
  if (IsAlive(place)) return pool_.View()[place.node.value()].instance;
  const auto ended = std::find_if(ended_.rbegin(), ended_.rend(),
                                  [&](const auto& entry) { return entry.first == place; });
  return ended == ended_.rend() ? InstanceId() : ended->second;
}

// Repair is over when nothing waits and nothing has moved since the last look.
void Cache::WatchRepair() {
  const TimePoint now = net::EventLoop::Now();
  const std::uint64_t bytes = Read(shared_.stats.repair_bytes);
  const bool moved = std::exchange(repair_bytes_seen_, bytes) != bytes;
  repair_rate_.Observe(bytes, now);
  if (!repairing_since_ || moved || repairs_queued() > 0 || !options().repair) return;
  const Duration took = now - *std::exchange(repairing_since_, std::nullopt);
  longest_repair_ = std::max(longest_repair_.value_or(Duration(0)), took);
}

net::Task<Risk> Cache::SurveyRisk() {
  // So many objects at a time, which takes about a millisecond; then others have their turn.
  constexpr std::size_t kPortion = 2000;
  Risk risk;
  std::uint64_t cursor = 0;
  do {
    cursor = directory().Scan(cursor, kPortion, [&](const ObjectRef& object) {
      const RepairNeed need = Survey(*object);
      Risk::Class& of = need.lost ? risk.lost : risk.by_spare[need.spare];
      ++of.objects;
      of.bytes += object->bytes();
      if (need.missing_bytes > 0) ++risk.incomplete;
    });
    co_await control_.Sleep(Duration(0));
  } while (cursor != 0 && !stopping_);
  co_return risk;
}

void Cache::SweepExpired() {
  std::size_t removed = 0;
  sweep_cursor_ = directory().RemoveExpired(sweep_cursor_, kSweepBatch, &removed);
  WatchRepair();
  if (const TimePoint now = net::EventLoop::Now(); now - told_at_ >= kTellEvery) {
    told_at_ = now;
    TellGone();
  }
  sweep_.Start(kSweepEvery, [this] { SweepExpired(); });
}

}  // namespace infinicache::cache
