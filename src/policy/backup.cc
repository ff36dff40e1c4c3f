#include "policy/backup.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace infinicache::policy {
namespace {

constexpr int kDoublingsMax = 20;

double Seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

BackupInterval::BackupInterval(Options options) : options_(options) {
  CHECK(options_.interval > Duration(0) && Duration(0) < options_.min &&
        options_.min <= options_.max && options_.round_cost >= Duration(0));
  CHECK(options_.bytes_per_second > 0 && options_.lifetime_prior > Duration(0));
}

Duration BackupInterval::MeanLifetime() const {
  const double seconds = Seconds(options_.lifetime_prior) + Seconds(lived_);
  return FromSeconds(seconds / (1 + static_cast<double>(reclaimed_)));
}

Duration BackupInterval::For(std::uint64_t dirty_bytes) const {
  if (!options_.adaptive) return options_.interval;
  const double cost =
      Seconds(options_.round_cost) +
      static_cast<double>(dirty_bytes) / static_cast<double>(options_.bytes_per_second);
  const double best = std::sqrt(2 * cost * Seconds(MeanLifetime()));
  return FromSeconds(std::clamp(best, Seconds(options_.min), Seconds(options_.max)));
}

void NodeBackup::OnRound(bool succeeded, TimePoint began, TimePoint now, Random& random) {
  since_ = ended_ = now;
  if (succeeded) peer_seen_at_ = began;
  shortened_ = kJitter * random.Unit();
  failures_ = succeeded ? 0 : std::min(failures_ + 1, kDoublingsMax);
}

std::optional<TimePoint> NodeBackup::Next(const BackupInterval& interval, const Dirt& dirt,
                                          std::optional<Duration> keep_warm) const {
  const bool is_dirty = dirt.changes > 0;
  const bool touches = keep_warm && peer_seen_at_;
  if (dirt.chunks == 0 || !(is_dirty || touches)) return std::nullopt;
  const Duration wait = interval.For(dirt.bytes);
  if (failures_ > 0) {
    const Duration retry = std::min(wait, kRetryMin * (1 << (failures_ - 1)));
    return ended_ + FromSeconds(Seconds(retry) * (1 - shortened_));
  }
  TimePoint due = TimePoint::max();
  if (is_dirty) due = since_ + FromSeconds(Seconds(wait) * (1 - shortened_));
  if (touches) {
    const double part = kTouchTo - (kTouchTo - kTouchFrom) * std::min(shortened_ / kJitter, 1.0);
    due = std::min(due, *peer_seen_at_ + FromSeconds(Seconds(*keep_warm) * part));
  }
  return due;
}

}  // namespace infinicache::policy
