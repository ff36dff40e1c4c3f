// The rounds by which nodes back themselves up to their peers.
//
//   due ── primary active? ── no ──▶ kWakingPrimary ── active ──▶ kWakingPeer ── peer ready ──▶
//   kSyncing ── the source's report ──▶ over
//
// When a round is due is policy::BackupInterval's and NodeBackup's decision; this class carries it
// out: wakes the primary, has the peer invoked beside it, commands both, and gives up what does not
// end in time. At most `at_once` rounds run, each for at most `round_at_most`. Where instances
// accept no connections they meet at the pool's relay.
//
// Thread-safety: the control loop.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/histogram.h"
#include "base/random.h"
#include "net/timer.h"
#include "policy/backup.h"
#include "pool/node_state.h"
#include "pool/sync_relay.h"
#include "wire/sync_frames.h"

namespace infinicache::pool {

struct BackupOptions {
  policy::BackupInterval::Options interval = {};
  std::uint64_t bytes_per_second = 0;  // of one round; 0: no limit
  std::size_t at_once = 4;
  Duration round_at_most = std::chrono::seconds(60);
};

// How a round ended.
enum class BackupResult : std::uint8_t {
  kDone,         // the peer is current
  kNoPrimary,    // it did not wake
  kNoPeer,       // it did not come
  kInterrupted,  // a session or a connection ended
  kRefused,      // the peer did not take a chunk
  kTooLate,
};
inline constexpr std::size_t kBackupResults = 6;
std::string_view BackupResultName(BackupResult result);

struct BackupStats {
  std::array<Counter, kBackupResults> rounds{};
  Counter traffic_bytes{0};
  Counter chunk_bytes{0};
  Counter chunks{0};
  Counter removals{0};
  Counter comparisons{0};  // rounds that knew no base for a delta
  Counter warm_ups{0};     // rounds of nodes that had not changed
  LatencyHistogram durations;
};

class Backups {
 public:
  // What the rounds need of the pool.
  class Host {
   public:
    // Makes the node's primary active: OnPrimaryReady follows, at once too, or OnPrimaryFailed.
    virtual void WantPrimary(NodeId node) = 0;
    // The want is over, whether or not it was answered.
    virtual void PrimaryWanted(NodeId node) = 0;
    // Invokes a second instance beside the primary; false if that is not possible now.
    virtual bool WantPeer(NodeId node) = 0;
    // Sends the command to the primary, or to the peer, with its session and the other's address.
    // False if it is not in session.
    virtual bool Command(NodeId node, wire::SyncCommand command) = 0;
    // How long a peer may be idle until it is woken; none: for ever.
    virtual std::optional<Duration> PeerIdleAtMost() const = 0;
    // The round is over. A primary that was commanded may end when its peer has.
    virtual void RoundOver(NodeId node) = 0;

   protected:
    ~Host() = default;
  };

  // REQUIRES: all arguments outlive this. `shared` is by node.
  Backups(net::EventLoop& loop, Host& host, std::span<NodeShared> shared, bool by_relay,
          BackupOptions options, std::uint64_t seed);

  void Start();
  void Stop();

  // Events of a node.
  void OnPrimaryReady(NodeId node);
  void OnPrimaryFailed(NodeId node);
  void OnPrimaryEnded(NodeId node);  // its session
  void OnPeerReady(NodeId node);
  void OnPeerGone(NodeId node);  // its session
  void OnReport(NodeId node, const wire::SyncReport& report);
  // Another instance is the primary now, of which nothing is backed up.
  void OnPrimaryChanged(NodeId node);
  void OnReclaimed() { interval_.OnReclaimed(); }

  SyncRelay& relay() { return relay_; }
  const BackupStats& stats() const { return stats_; }
  BackupView View(NodeId node) const;
  std::size_t running() const;
  // Nodes that have something to send, rounds that run included.
  std::size_t dirty() const;
  // The node's peer, if it has one, lacks something.
  bool IsBehind(NodeId node) const {
    const policy::Dirt dirt = DirtOf(node);
    return dirt.chunks > 0 && dirt.changes > 0;
  }

 private:
  // kRestoring: the primary ended too early. It is woken beside the peer, and kept until that has
  // returned, so that the peer is not the one that the platform takes next.
  enum class Stage : std::uint8_t {
    kNone,
    kWakingPrimary,
    kWakingPeer,
    kWakingAgain,
    kSyncing,
    kRestoring
  };
  struct Node {
    explicit Node(policy::NodeBackup its_schedule) : schedule(its_schedule) {}
    policy::NodeBackup schedule;
    Stage stage = Stage::kNone;
    TimePoint began{};
    TimePoint deadline{};
    wire::SyncToken token{};
    // Of NodeShared, when the last round that succeeded began, and when this one did.
    std::uint64_t changes_synced = 0;
    std::uint64_t changes_begun = 0;
    std::uint64_t bytes_synced = 0;
    std::uint64_t bytes_begun = 0;
    std::optional<TimePoint> current_at;  // when the last round that succeeded began
  };

  Node& at(NodeId node) { return nodes_[node.value()]; }
  policy::Dirt DirtOf(NodeId node) const;
  void Look();
  void Begin(NodeId node);
  void SendSource(NodeId node);
  // Whether the round waits for the primary to wake.
  static bool WantsPrimary(Stage stage) {
    return stage == Stage::kWakingPrimary || stage == Stage::kWakingAgain ||
           stage == Stage::kRestoring;
  }
  void End(NodeId node, BackupResult result);
  wire::SyncCommand CommandOf(const Node& node, bool is_source) const;

  Host& host_;
  const std::span<NodeShared> shared_;
  const bool by_relay_;
  const BackupOptions options_;
  Random random_;
  policy::BackupInterval interval_;
  SyncRelay relay_;
  std::vector<Node> nodes_;
  net::Timer look_;
  TimePoint looked_at_{};
  std::size_t next_ = 0;  // where the search for a due node begins
  BackupStats stats_;
};

}  // namespace infinicache::pool
