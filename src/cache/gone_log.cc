#include "cache/gone_log.h"

#include <fmt/format.h>

#include <utility>

namespace infinicache::cache {
namespace {
constexpr std::size_t kShownKeyBytesMax = 64;
}  // namespace

std::string_view GoneCauseName(GoneCause cause) {
  switch (cause) {
    case GoneCause::kReclaimed:
      return "reclaimed";
    case GoneCause::kCorrupt:
      return "corrupt";
    case GoneCause::kEvicted:
      return "evicted";
    case GoneCause::kExpired:
      return "expired";
    case GoneCause::kFlushed:
      return "flushed";
    case GoneCause::kTorn:
      return "torn";
  }
  return "unknown";
}

void GoneLog::Count(GoneCause cause, std::uint64_t objects, std::uint64_t bytes) {
  const auto index = static_cast<std::size_t>(cause);
  Add(counters_.objects[index], objects);
  Add(counters_.bytes[index], bytes);
}

void GoneLog::AddLoss(GoneCause cause, std::string_view key, std::uint64_t bytes,
                      std::vector<pool::Place> chunks) {
  // Under the lock, so that Take sees the count and the name, or neither.
  const std::scoped_lock lock(mutex_);
  Count(cause, 1, bytes);
  if (losses_.size() < kNamedMax)
    losses_.push_back({cause, PrintableKey(key), bytes, std::move(chunks)});
}

GoneLog::News GoneLog::Take() {
  News news;
  const std::scoped_lock lock(mutex_);
  news.losses = std::exchange(losses_, {});
  for (std::size_t i = 0; i < kGoneCauses; ++i) {
    const Sum now{Read(counters_.objects[i]), Read(counters_.bytes[i])};
    news.others[i] = {now.objects - taken_[i].objects, now.bytes - taken_[i].bytes};
    taken_[i] = now;
  }
  for (const Loss& loss : news.losses) {
    Sum& rest = news.others[static_cast<std::size_t>(loss.cause)];
    --rest.objects;
    rest.bytes -= loss.bytes;
  }
  return news;
}

std::string PrintableKey(std::string_view key) {
  std::string shown;
  for (const char c : key.substr(0, kShownKeyBytesMax)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F && byte != '\\') {
      shown.push_back(c);
    } else {
      shown += fmt::format("\\x{:02x}", byte);
    }
  }
  return key.size() > kShownKeyBytesMax ? shown + "..." : shown;
}

}  // namespace infinicache::cache
