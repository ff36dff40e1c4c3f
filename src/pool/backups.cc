#include "pool/backups.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "net/crypto.h"

namespace infinicache::pool {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(50);
// That the report of a round whose peer has ended may still take.
constexpr auto kReportGrace = std::chrono::seconds(1);
constexpr auto kRestoreAtMost = std::chrono::seconds(10);

BackupResult ResultOf(const wire::SyncReport& report) {
  if (!report.failure) return BackupResult::kDone;
  switch (*report.failure) {
    case ErrorCode::kDeadlineExceeded:
      return BackupResult::kTooLate;
    case ErrorCode::kOutOfMemory:
    case ErrorCode::kCorrupt:
      return BackupResult::kRefused;
    default:
      return BackupResult::kInterrupted;
  }
}

}  // namespace

std::string_view BackupResultName(BackupResult result) {
  switch (result) {
    case BackupResult::kDone:
      return "done";
    case BackupResult::kNoPrimary:
      return "no_primary";
    case BackupResult::kNoPeer:
      return "no_peer";
    case BackupResult::kInterrupted:
      return "interrupted";
    case BackupResult::kRefused:
      return "refused";
    case BackupResult::kTooLate:
      return "too_late";
  }
  return "unknown";
}

Backups::Backups(net::EventLoop& loop, Host& host, std::span<NodeShared> shared, bool by_relay,
                 BackupOptions options, std::uint64_t seed)
    : host_(host),
      shared_(shared),
      by_relay_(by_relay),
      options_(options),
      random_(seed),
      interval_(options.interval),
      relay_(loop),
      look_(loop) {
  const TimePoint now = net::EventLoop::Now();
  for (std::size_t i = 0; i < shared.size(); ++i)
    nodes_.emplace_back(policy::NodeBackup(now, random_));
}

void Backups::Start() {
  looked_at_ = net::EventLoop::Now();
  Look();
}

void Backups::Stop() {
  look_.Cancel();
  relay_.CloseAll();
}

BackupView Backups::View(NodeId id) const {
  const Node& node = nodes_[id.value()];
  BackupView view;
  if (node.current_at) view.age = net::EventLoop::Now() - *node.current_at;
  view.behind = IsBehind(id);
  if (view.behind) view.bytes_behind = DirtOf(id).bytes;
  view.failures = node.schedule.failures();
  return view;
}

std::size_t Backups::running() const {
  return static_cast<std::size_t>(std::count_if(
      nodes_.begin(), nodes_.end(), [](const Node& node) { return node.stage != Stage::kNone; }));
}

std::size_t Backups::dirty() const {
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) count += IsBehind(NodeId(i)) ? 1 : 0;
  return count;
}

policy::Dirt Backups::DirtOf(NodeId id) const {
  const NodeShared& shared = shared_[id.value()];
  const Node& node = nodes_[id.value()];
  return {shared.chunks, shared.changes - node.changes_synced,
          shared.bytes_stored - node.bytes_synced};
}

void Backups::Look() {
  look_.Start(kLookEvery, [this] { Look(); });
  const TimePoint now = net::EventLoop::Now();
  const Duration passed = now - std::exchange(looked_at_, now);
  std::size_t alive = 0;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    if (shared_[i].epoch != 0) ++alive;
    if (nodes_[i].stage != Stage::kNone && now >= nodes_[i].deadline)
      End(NodeId(i), BackupResult::kTooLate);
    if (!IsBehind(NodeId(i))) nodes_[i].schedule.OnClean(now);
  }
  interval_.OnLived(passed * static_cast<int>(alive));
  const std::optional<Duration> keep_warm = host_.PeerIdleAtMost();
  // From node to node in turn, so that none is passed over for ever.
  std::size_t room = options_.at_once - std::min(options_.at_once, running());
  for (std::size_t i = 0; i < nodes_.size() && room > 0; ++i) {
    const auto id = NodeId(static_cast<std::uint32_t>((next_ + i) % nodes_.size()));
    if (at(id).stage != Stage::kNone) continue;
    const auto due = at(id).schedule.Next(interval_, DirtOf(id), keep_warm);
    if (!due || now < *due) continue;
    next_ = id.value() + 1;
    --room;
    Begin(id);
  }
}

void Backups::Begin(NodeId id) {
  Node& node = at(id);
  if (!IsBehind(id)) Add(stats_.warm_ups);
  node.stage = Stage::kWakingPrimary;
  node.began = net::EventLoop::Now();
  node.deadline = node.began + options_.round_at_most;
  net::RandomBytes(node.token);
  node.changes_begun = shared_[id.value()].changes;
  node.bytes_begun = shared_[id.value()].bytes_stored;
  if (by_relay_) relay_.Open(node.token);
  host_.WantPrimary(id);
}

wire::SyncCommand Backups::CommandOf(const Node& node, bool is_source) const {
  wire::SyncCommand command;
  command.is_source = is_source;
  command.by_relay = by_relay_;
  command.within = std::max(node.deadline - net::EventLoop::Now(), Duration(0));
  command.bytes_per_second = options_.bytes_per_second;
  command.token = node.token;
  return command;
}

// By the relay the primary is commanded first: it stays in session while the peer is woken.
void Backups::OnPrimaryReady(NodeId id) {
  Node& node = at(id);
  if (!WantsPrimary(node.stage)) return;
  host_.PrimaryWanted(id);
  if (node.stage == Stage::kRestoring) {
    // It finds that the relay is closed, and waits for the peer's end.
    node.stage = Stage::kSyncing;
    (void)host_.Command(id, CommandOf(node, true));
    return End(id, BackupResult::kInterrupted);
  }
  if (node.stage == Stage::kWakingAgain) return SendSource(id);
  node.stage = Stage::kWakingPeer;
  if (by_relay_ && !host_.Command(id, CommandOf(node, true)))
    return End(id, BackupResult::kNoPrimary);
  if (!host_.WantPeer(id)) End(id, BackupResult::kNoPeer);
}

void Backups::SendSource(NodeId id) {
  Node& node = at(id);
  node.stage = Stage::kSyncing;
  if (!host_.Command(id, CommandOf(node, true))) End(id, BackupResult::kNoPrimary);
}

void Backups::OnPrimaryFailed(NodeId id) {
  if (WantsPrimary(at(id).stage)) End(id, BackupResult::kNoPrimary);
}

void Backups::OnPrimaryEnded(NodeId id) {
  Node& node = at(id);
  if (node.stage != Stage::kSyncing && !(by_relay_ && node.stage == Stage::kWakingPeer)) return;
  node.stage = Stage::kRestoring;
  node.deadline = std::min(node.deadline, net::EventLoop::Now() + kRestoreAtMost);
  host_.WantPrimary(id);
}

void Backups::OnPeerReady(NodeId id) {
  Node& node = at(id);
  if (node.stage != Stage::kWakingPeer) return;
  if (!host_.Command(id, CommandOf(node, false))) return End(id, BackupResult::kNoPeer);
  if (by_relay_) {
    node.stage = Stage::kSyncing;
    return;
  }
  // Which may have fallen asleep meanwhile.
  node.stage = Stage::kWakingAgain;
  host_.WantPrimary(id);
}

void Backups::OnPeerGone(NodeId id) {
  Node& node = at(id);
  if (node.stage == Stage::kWakingPeer || node.stage == Stage::kWakingAgain)
    return End(id, BackupResult::kNoPeer);
  // The peer ends when it has all: the report is under way, by another connection.
  if (node.stage == Stage::kSyncing)
    node.deadline = std::min(node.deadline, net::EventLoop::Now() + kReportGrace);
}

void Backups::OnReport(NodeId id, const wire::SyncReport& report) {
  Add(stats_.traffic_bytes, report.totals.traffic_bytes);
  Add(stats_.chunk_bytes, report.totals.chunk_bytes);
  Add(stats_.chunks, report.totals.chunks);
  Add(stats_.removals, report.totals.removals);
  if (report.totals.compared > 0) Add(stats_.comparisons);
  if (at(id).stage != Stage::kNone) End(id, ResultOf(report));
}

void Backups::OnPrimaryChanged(NodeId id) {
  Node& node = at(id);
  // If it was to be woken, it is this one.
  if (node.stage != Stage::kNone && node.stage != Stage::kWakingPrimary)
    End(id, BackupResult::kInterrupted);
  node.current_at.reset();
  // All that it holds, which one number stands for.
  node.changes_synced = shared_[id.value()].changes - 1;
  node.bytes_synced = shared_[id.value()].bytes_stored - shared_[id.value()].bytes_used;
}

void Backups::End(NodeId id, BackupResult result) {
  Node& node = at(id);
  const Stage stage = std::exchange(node.stage, Stage::kNone);
  const TimePoint now = net::EventLoop::Now();
  if (WantsPrimary(stage)) host_.PrimaryWanted(id);
  if (by_relay_) relay_.Close(node.token);
  host_.RoundOver(id);
  Add(stats_.rounds[static_cast<std::size_t>(result)]);
  node.schedule.OnRound(result == BackupResult::kDone, node.began, now, random_);
  if (result != BackupResult::kDone) {
    LOG_DEBUG("backup of node {} ended early: {}", id.value(), BackupResultName(result));
    return;
  }
  node.current_at = node.began;
  node.changes_synced = node.changes_begun;
  node.bytes_synced = node.bytes_begun;
  stats_.durations.Observe(std::chrono::duration<double>(now - node.began).count());
}

}  // namespace infinicache::pool
