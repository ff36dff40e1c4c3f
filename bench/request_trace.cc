#include "request_trace.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/random.h"

namespace infinicache::bench {
namespace {

constexpr double kSpanSeconds = 50 * 3600;
constexpr double kObjects = 12541;
constexpr double kRequests = 37474;
constexpr double kMostRequests = 4638;  // of one object
constexpr double kOnceShare = 0.771;    // objects that are requested once
constexpr std::size_t kPopular = 12;    // objects whose size is that of the median request

struct Quantile {
  double share = 0;
  double value = 0;
};

// Megabytes of an object. Between the published ones (median, 90 %, 99 %, the share and sum above
// 100 MB, the number above 1 GB, the extremes) the values that give the published sum.
constexpr Quantile kMegabytes[] = {{0, 10.5},      {0.5, 42.3},    {0.831, 100},
                                   {0.9, 134.5},   {0.95, 200},    {0.99, 600},
                                   {0.9948, 1000}, {0.9995, 3000}, {1, 8490}};

// Seconds between two requests of an object.
constexpr Quantile kGapSeconds[] = {{0, 0.5},     {0.46, 60},    {0.5, 73},
                                    {0.796, 600}, {0.912, 3600}, {1, kSpanSeconds / 2}};

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "hit_ratio: %s\n", message.c_str());
  std::exit(2);
}

// Log-linear between the quantiles.
double Draw(std::span<const Quantile> quantiles, Random& random) {
  const double share = random.Unit();
  std::size_t next = 1;
  while (quantiles[next].share < share) ++next;
  const Quantile& low = quantiles[next - 1];
  const Quantile& high = quantiles[next];
  const double part = (share - low.share) / (high.share - low.share);
  return low.value * std::pow(high.value / low.value, part);
}

// Requests of each object, most popular first: a power law that ends at 2, then those with one.
std::vector<std::size_t> DrawCounts(double scale) {
  const double once = kObjects * kOnceShare * scale;
  const auto repeated = static_cast<std::size_t>(kObjects * scale - once);
  const double wanted = kRequests * scale - once;
  const auto counts_for = [&](double exponent) {
    std::vector<std::size_t> counts(repeated);
    for (std::size_t i = 0; i < repeated; ++i) {
      const double count = kMostRequests * scale * std::pow(static_cast<double>(i + 1), -exponent);
      counts[i] = std::max<std::size_t>(2, static_cast<std::size_t>(count));
    }
    return counts;
  };
  double low = 0.1;
  double high = 5;
  for (int i = 0; i < 50; ++i) {
    const double middle = (low + high) / 2;
    const auto counts = counts_for(middle);
    const auto sum = std::accumulate(counts.begin(), counts.end(), std::size_t{0});
    (static_cast<double>(sum) > wanted ? low : high) = middle;
  }
  std::vector<std::size_t> counts = counts_for(high);
  counts.resize(repeated + static_cast<std::size_t>(once), 1);
  return counts;
}

struct Life {
  std::size_t open = 0;  // gaps that are still to be given
  double left = kSpanSeconds;
  std::vector<double> gaps;

  // Whether the gap leaves a second for each of the others.
  bool Fits(double gap) const { return open > 0 && gap + static_cast<double>(open) <= left; }
  void Take(double gap) {
    gaps.push_back(gap);
    left -= gap;
    --open;
  }
};

// The index of an object that takes a gap of so many seconds, at random if possible.
std::size_t TakerOf(double gap, std::span<const Life> lives, std::span<const std::size_t> open,
                    Random& random) {
  constexpr int kTries = 32;
  for (int i = 0; i < kTries; ++i) {
    const std::size_t candidate = random.Below(open.size());
    if (lives[open[candidate]].Fits(gap)) return candidate;
  }
  const auto room = [&](std::size_t index) {
    return lives[index].left / static_cast<double>(lives[index].open);
  };
  return static_cast<std::size_t>(
      std::max_element(open.begin(), open.end(),
                       [&](std::size_t a, std::size_t b) { return room(a) < room(b); }) -
      open.begin());
}

// The longest gaps go first, to objects that have time for them; so those with thousands of
// requests get the shortest, and all gaps together keep their distribution.
std::vector<Life> DrawLives(std::span<const std::size_t> counts, Random& random) {
  std::vector<Life> lives(counts.size());
  std::vector<std::size_t> open;
  std::vector<double> gaps;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    lives[i].open = counts[i] - 1;
    if (lives[i].open > 0) open.push_back(i);
    for (std::size_t gap = 1; gap < counts[i]; ++gap) gaps.push_back(Draw(kGapSeconds, random));
  }
  std::sort(gaps.begin(), gaps.end(), std::greater<>());
  for (const double gap : gaps) {
    const std::size_t taker = TakerOf(gap, lives, open, random);
    Life& life = lives[open[taker]];
    life.Take(std::min(gap, life.left / static_cast<double>(life.open)));
    if (life.open > 0) continue;
    open[taker] = open.back();
    open.pop_back();
  }
  for (Life& life : lives) std::shuffle(life.gaps.begin(), life.gaps.end(), random);
  return lives;
}

std::uint64_t ParseNumber(std::string_view text, std::size_t line) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    Die("line " + std::to_string(line) + ": '" + std::string(text) + "' is not a number");
  return value;
}

TraceRequest::Op ParseOp(std::string_view text, std::size_t line) {
  if (text == "get") return TraceRequest::Op::kGet;
  if (text == "set") return TraceRequest::Op::kSet;
  if (text == "del") return TraceRequest::Op::kDel;
  Die("line " + std::to_string(line) + ": op '" + std::string(text) + "' is not get, set or del");
}

std::string ReadAll(std::FILE* file) {
  std::string text;
  std::vector<char> buffer(1 << 20);
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), file))
    text.append(buffer.data(), count);
  if (std::ferror(file) != 0) Die("the trace cannot be read");
  return text;
}

}  // namespace

std::vector<TraceRequest> ReadTrace(std::FILE* file) {
  const std::string text = ReadAll(file);
  std::vector<TraceRequest> requests;
  std::unordered_map<std::string_view, std::uint64_t> objects;
  std::string_view rest = text;
  for (std::size_t line = 1; !rest.empty(); ++line) {
    std::string_view row = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), row.size() + 1));
    if (row.ends_with('\r')) row.remove_suffix(1);
    if (line == 1 && row != "time_s,op,key,size")
      Die("line 1: the header is 'time_s,op,key,size', not '" + std::string(row) + "'");
    if (line == 1 || row.empty()) continue;
    // A key may hold commas: the first two and the last one separate.
    const std::size_t op = row.find(',') + 1;
    const std::size_t key = row.find(',', op) + 1;
    const std::size_t size = row.rfind(',') + 1;
    if (op == 0 || key == 0 || size <= key)
      Die("line " + std::to_string(line) + ": not four columns");
    const auto number = objects.try_emplace(row.substr(key, size - 1 - key), objects.size());
    requests.push_back({ParseOp(row.substr(op, key - 1 - op), line), number.first->second,
                        ParseNumber(row.substr(size), line)});
  }
  return requests;
}

std::vector<TraceRequest> DrawRegistryTrace(std::uint64_t seed, double scale) {
  Random random(seed);
  const std::vector<std::size_t> counts = DrawCounts(scale);
  const std::vector<Life> lives = DrawLives(counts, random);
  std::vector<std::pair<double, TraceRequest>> timed;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double megabytes = i < kPopular ? 51.5 + 2.9 * random.Unit() : Draw(kMegabytes, random);
    const TraceRequest request{TraceRequest::Op::kGet, i,
                               static_cast<std::uint64_t>(megabytes * 1e6)};
    double time = random.Unit() * lives[i].left;
    timed.emplace_back(time, request);
    for (const double gap : lives[i].gaps) timed.emplace_back(time += gap, request);
  }
  std::sort(timed.begin(), timed.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first, a.second.object) < std::pair(b.first, b.second.object);
  });
  std::vector<TraceRequest> requests;
  requests.reserve(timed.size());
  for (const auto& [time, request] : timed) requests.push_back(request);
  return requests;
}

}  // namespace infinicache::bench
