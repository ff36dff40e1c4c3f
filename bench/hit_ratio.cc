// Replays a trace of requests against the server's eviction orders and prints their hit ratios.
//
// A miss stores the object, as an application does that fetches it elsewhere. What does not fit at
// all is not stored. CLOCK and S3-FIFO are the server's own code; LRU and a cache without limit are
// there to compare with. Objects count with their own bytes: parity only scales the capacity.
#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/bytes.h"
#include "policy/eviction.h"
#include "request_trace.h"

namespace infinicache::bench {
namespace {

using policy::EvictionEntry;
using policy::EvictionPolicy;

constexpr std::string_view kUsage = R"(usage: hit_ratio [options]
  --trace FILE        replay a CSV file (time_s,op,key,size), also .csv.gz; -: standard input.
                      Without it requests are drawn that look like those of a registry
  --capacities LIST   sizes of the cache, separated by commas (10GB,25GB,50GB,100GB,200GB,300GB)
  --seed N            of the requests that are drawn (1)
  --scale X           of their number, above 0 and at most 1 (1)
)";

struct Options {
  std::string trace;
  std::vector<std::uint64_t> capacities;
  std::uint64_t seed = 1;
  double scale = 1;
};

[[noreturn]] void Die(const std::string& message) {
  fmt::print(stderr, "hit_ratio: {}\n{}", message, kUsage);
  std::exit(2);
}

// A cache of `capacity` bytes, without the bytes.
class ModelCache {
 public:
  virtual ~ModelCache() = default;
  // Whether the object is there; that is a use of it.
  virtual bool Get(std::uint64_t object) = 0;
  virtual void Set(std::uint64_t object, std::uint64_t bytes) = 0;
  virtual void Delete(std::uint64_t object) = 0;
};

class OrderedCache final : public ModelCache {
 public:
  OrderedCache(EvictionPolicy policy, std::uint64_t capacity)
      : capacity_(capacity), order_(policy::MakeEvictionOrder(policy)) {}

  bool Get(std::uint64_t object) override {
    const auto found = objects_.find(object);
    if (found == objects_.end()) return false;
    found->second->Touch();
    return true;
  }
  void Set(std::uint64_t object, std::uint64_t bytes) override {
    if (bytes > capacity_) return;
    auto fresh = std::make_unique<Entry>();
    fresh->object = object;
    const auto found = objects_.find(object);
    if (found != objects_.end()) {
      order_->Replace(*found->second, *fresh, ObjectId(object), bytes);
    } else {
      MakeRoom(bytes);
      order_->Insert(*fresh, ObjectId(object), bytes);
    }
    objects_[object] = std::move(fresh);
    MakeRoom(0);
  }
  void Delete(std::uint64_t object) override {
    const auto found = objects_.find(object);
    if (found == objects_.end()) return;
    order_->Erase(*found->second);
    objects_.erase(found);
  }

 private:
  struct Entry : EvictionEntry {
    std::uint64_t object = 0;
  };

  void MakeRoom(std::uint64_t bytes) {
    const auto any = [](const EvictionEntry&) { return true; };
    while (order_->bytes() + bytes > capacity_) {
      objects_.erase(
          static_cast<const Entry*>(order_->Victim(any, std::size_t{8} * order_->size()))->object);
    }
  }

  const std::uint64_t capacity_;
  std::unique_ptr<policy::EvictionOrder> order_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Entry>> objects_;
};

class LruCache final : public ModelCache {
 public:
  explicit LruCache(std::uint64_t capacity) : capacity_(capacity) {}

  bool Get(std::uint64_t object) override {
    const auto found = objects_.find(object);
    if (found == objects_.end()) return false;
    recent_.splice(recent_.end(), recent_, found->second);
    return true;
  }
  void Set(std::uint64_t object, std::uint64_t bytes) override {
    if (bytes > capacity_) return;
    Delete(object);
    recent_.push_back({object, bytes});
    objects_[object] = std::prev(recent_.end());
    bytes_ += bytes;
    while (bytes_ > capacity_) Delete(recent_.front().object);
  }
  void Delete(std::uint64_t object) override {
    const auto found = objects_.find(object);
    if (found == objects_.end()) return;
    bytes_ -= found->second->bytes;
    recent_.erase(found->second);
    objects_.erase(found);
  }

 private:
  struct Item {
    std::uint64_t object = 0;
    std::uint64_t bytes = 0;
  };
  const std::uint64_t capacity_;
  std::uint64_t bytes_ = 0;
  std::list<Item> recent_;  // longest unused first
  std::unordered_map<std::uint64_t, std::list<Item>::iterator> objects_;
};

class EndlessCache final : public ModelCache {
 public:
  bool Get(std::uint64_t object) override { return objects_.contains(object); }
  void Set(std::uint64_t object, std::uint64_t) override { objects_.insert(object); }
  void Delete(std::uint64_t object) override { objects_.erase(object); }

 private:
  std::unordered_set<std::uint64_t> objects_;
};

struct Ratios {
  double hits = 0;
  double bytes = 0;
};

Ratios Replay(const std::vector<TraceRequest>& requests, ModelCache& cache) {
  double gets = 0;
  double hits = 0;
  double bytes = 0;
  double hit_bytes = 0;
  for (const TraceRequest& request : requests) {
    const bool get = request.op == TraceRequest::Op::kGet;
    const bool hit = get && cache.Get(request.object);
    const auto size = static_cast<double>(request.bytes);
    gets += get ? 1 : 0;
    bytes += get ? size : 0;
    hits += hit ? 1 : 0;
    hit_bytes += hit ? size : 0;
    if (request.op == TraceRequest::Op::kDel) cache.Delete(request.object);
    if (request.op == TraceRequest::Op::kSet || (get && !hit))
      cache.Set(request.object, request.bytes);
  }
  return gets == 0 ? Ratios{} : Ratios{hits / gets, hit_bytes / bytes};
}

void PrintTraceLine(const std::vector<TraceRequest>& requests) {
  std::unordered_map<std::uint64_t, std::uint64_t> sizes;
  std::unordered_map<std::uint64_t, std::size_t> counts;
  for (const TraceRequest& request : requests) {
    sizes[request.object] = request.bytes;
    ++counts[request.object];
  }
  std::uint64_t bytes = 0;
  std::size_t once = 0;
  for (const auto& [object, size] : sizes) bytes += size;
  for (const auto& [object, count] : counts) once += count == 1 ? 1 : 0;
  fmt::print("{} requests for {} objects of {}; {:.1f} % of these are requested once\n\n",
             requests.size(), sizes.size(), FormatByteSize(bytes),
             100.0 * static_cast<double>(once) /
                 static_cast<double>(std::max<std::size_t>(1, counts.size())));
}

void PrintTable(const std::vector<TraceRequest>& requests, const Options& options) {
  fmt::print("hit ratio / byte hit ratio, percent\n\n");
  fmt::print("| capacity | CLOCK | S3-FIFO | LRU | no limit |\n|--:|--:|--:|--:|--:|\n");
  EndlessCache endless;
  const Ratios limit = Replay(requests, endless);
  const auto cell = [](const Ratios& ratios) {
    return fmt::format("{:.1f} / {:.1f}", 100 * ratios.hits, 100 * ratios.bytes);
  };
  for (const std::uint64_t capacity : options.capacities) {
    OrderedCache clock(EvictionPolicy::kClock, capacity);
    OrderedCache fifo(EvictionPolicy::kS3Fifo, capacity);
    LruCache lru(capacity);
    fmt::print("| {:g} GB | {} | {} | {} | {} |\n", static_cast<double>(capacity) / 1e9,
               cell(Replay(requests, clock)), cell(Replay(requests, fifo)),
               cell(Replay(requests, lru)), cell(limit));
  }
}

std::vector<std::uint64_t> ParseCapacities(std::string_view list) {
  std::vector<std::uint64_t> capacities;
  while (!list.empty()) {
    const std::string_view text = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), text.size() + 1));
    const auto bytes = ParseByteSize(text);
    if (!bytes || *bytes == 0) Die(fmt::format("--capacities: '{}' is not a size", text));
    capacities.push_back(*bytes);
  }
  return capacities;
}

Options ParseArguments(const std::vector<std::string>& arguments) {
  Options options;
  options.capacities = ParseCapacities("10GB,25GB,50GB,100GB,200GB,300GB");
  for (std::size_t i = 0; i < arguments.size(); i += 2) {
    const std::string& name = arguments[i];
    if (name == "--help") {
      fmt::print("{}", kUsage);
      std::exit(0);
    }
    if (i + 1 == arguments.size()) Die(name + " has no value");
    const std::string& value = arguments[i + 1];
    if (name == "--trace") {
      options.trace = value;
    } else if (name == "--capacities") {
      options.capacities = ParseCapacities(value);
    } else if (name == "--seed") {
      options.seed = std::strtoull(value.c_str(), nullptr, 10);
    } else if (name == "--scale") {
      options.scale = std::strtod(value.c_str(), nullptr);
      if (options.scale <= 0 || options.scale > 1) Die("--scale is above 0 and at most 1");
    } else {
      Die("unknown option " + name);
    }
  }
  return options;
}

// The shell sees the name as one word whatever is in it.
std::FILE* OpenCompressed(const std::string& path) {
  std::string quoted;
  for (const char c : path) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return popen(("exec zcat -- '" + quoted + "'").c_str(), "r");
}

std::vector<TraceRequest> LoadTrace(const std::string& path) {
  if (path == "-") return ReadTrace(stdin);
  const bool compressed = path.ends_with(".gz");
  std::FILE* file = compressed ? OpenCompressed(path) : std::fopen(path.c_str(), "r");
  if (file == nullptr) Die("cannot open " + path);
  std::vector<TraceRequest> requests = ReadTrace(file);
  if ((compressed ? pclose(file) : std::fclose(file)) != 0) Die("cannot read " + path);
  return requests;
}

void Run(const Options& options) {
  const std::vector<TraceRequest> requests = options.trace.empty()
                                                 ? DrawRegistryTrace(options.seed, options.scale)
                                                 : LoadTrace(options.trace);
  PrintTraceLine(requests);
  PrintTable(requests, options);
}

}  // namespace
}  // namespace infinicache::bench

int main(int count, char** arguments) {
  infinicache::bench::Run(infinicache::bench::ParseArguments({arguments + 1, arguments + count}));
}
