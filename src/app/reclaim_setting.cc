#include "app/reclaim_setting.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <string>
#include <utility>

#include "app/duration.h"
#include "app/text_file.h"
#include "base/bytes.h"
#include "base/limits.h"

namespace infinicache::app {
namespace {

using policy::ReclaimModel;
using Kind = ReclaimModel::Kind;

constexpr std::string_view kReplay = "replay:";
constexpr std::size_t kReplayBytesMax = 16 * kMiB;
constexpr double kReplaySecondsMax = 366.0 * 86400;
// Faster than this no instance would get ready.
constexpr Duration kIntervalMin = std::chrono::milliseconds(1);

tl::unexpected<Error> Unknown(std::string_view text) {
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("'{}' is no reclaim model; write none, idle:10m, max-life:10m, "
                          "poisson:6/1h, spikes:2/5m or replay:FILE",
                          text));
}

// "6/1h"
Result<ReclaimModel> ParseRate(Kind kind, std::string_view rate, std::string_view text) {
  const std::size_t slash = rate.find('/');
  if (slash == std::string_view::npos) return Unknown(text);
  ReclaimModel model;
  model.kind = kind;
  const std::string_view count = rate.substr(0, slash);
  const auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), model.count);
  if (error != std::errc{} || end != count.data() + count.size() || model.count == 0 ||
      model.count > kNodesMax) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}' is not a number of instances from 1 to {}", count, kNodesMax));
  }
  const auto interval = ParseDuration(rate.substr(slash + 1));
  if (!interval) return tl::make_unexpected(interval.error());
  model.interval = *interval;
  return model;
}

Result<ReclaimModel> ParseTimed(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return Unknown(text);
  const std::string_view name = text.substr(0, colon);
  const std::string_view value = text.substr(colon + 1);
  if (name == "poisson") return ParseRate(Kind::kPoisson, value, text);
  if (name == "spikes") return ParseRate(Kind::kSpikes, value, text);
  if (name != "max-life" && name != "idle") return Unknown(text);
  const auto life = ParseDuration(value);
  if (!life) return tl::make_unexpected(life.error());
  return ReclaimModel{name == "idle" ? Kind::kIdle : Kind::kMaxLife, 1, *life, {}};
}

// Everything but a replay.
Result<ReclaimModel> ParseModel(std::string_view text) {
  if (text == "none") return ReclaimModel{};
  auto model = ParseTimed(text);
  if (model && model->interval / static_cast<Duration::rep>(model->count) < kIntervalMin) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}' is more often than once a millisecond", text));
  }
  return model;
}

}  // namespace

Status CheckReclaim(std::string_view text) {
  if (text.starts_with(kReplay)) {
    if (text.size() > kReplay.size()) return {};
    return Fail(ErrorCode::kInvalidArgument, "replay: names no file; write replay:FILE");
  }
  const auto model = ParseModel(text);
  if (!model) return tl::make_unexpected(model.error());
  return {};
}

Result<std::vector<policy::ReclaimEvent>> ParseReplay(std::string_view text) {
  std::vector<policy::ReclaimEvent> events;
  std::istringstream lines{std::string(text)};
  std::string line;
  for (std::size_t number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line.substr(0, line.find('#')));
    double seconds = 0;
    std::uint32_t node = 0;
    std::string more;
    if ((words >> std::ws).eof()) continue;
    const bool read = static_cast<bool>(words >> seconds >> node);
    if (!read || words >> more || !(seconds >= 0 && seconds <= kReplaySecondsMax) ||
        node >= kNodesMax) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("line {}: '{}' is not a time in seconds and a node's number, as in "
                              "'12.5 3'",
                              number, line));
    }
    events.push_back(
        {Duration(static_cast<Duration::rep>(std::llround(seconds * 1e9))), NodeId(node)});
  }
  std::sort(events.begin(), events.end(), [](const auto& a, const auto& b) {
    return std::pair(a.at, a.node) < std::pair(b.at, b.node);
  });
  return events;
}

Result<ReclaimModel> LoadReclaimModel(std::string_view text) {
  if (!text.starts_with(kReplay)) return ParseModel(text);
  const std::string path(text.substr(kReplay.size()));
  const auto text_of_file = ReadTextFile(path, kReplayBytesMax);
  if (!text_of_file) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--reclaim: {}", text_of_file.error().message));
  }
  auto events = ParseReplay(*text_of_file);
  if (!events) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--reclaim: {}: {}", path, events.error().message));
  }
  ReclaimModel model;
  model.kind = Kind::kReplay;
  model.replay = std::move(*events);
  return model;
}

}  // namespace infinicache::app
