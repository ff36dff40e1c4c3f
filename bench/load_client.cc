// Load generator for servers that speak RESP or the memcached text protocol.
//
// Stores and reads values of one size under a few keys, one request at a time per connection, and
// prints one line of JSON: operations, bytes, wall and CPU seconds, latencies in microseconds. It
// is made to cost little and always the same: blocking sockets, buffers of huge pages that are
// touched before the measurement and used again for every operation.
//
// Before the measured part it can store every key (--fill), check every value (--verify, see
// load_pattern.h) and run operations unmeasured (--warmup). With --handshake it then prints "ready"
// and waits for a line on standard input, so that a harness can read the server's CPU clock first.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <barrier>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/map_memory.h"
#include "base/result.h"
#include "load_connection.h"
#include "load_pattern.h"

namespace infinicache::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::string_view kUsage = R"(usage: load_client --port PORT [options]
  --protocol resp|memcached   what the server speaks (resp)
  --address A.B.C.D           where it listens (127.0.0.1)
  --op get|set                the operation to measure (get)
  --size BYTES                bytes per value; suffixes KB MB GB and KiB MiB GiB (1MB)
  --keys K                    keys, used in turn (16)
  --prefix TEXT               beginning of every key's name (bench)
  --connections C             connections, one thread each (1)
  --count N                   operations to measure, over all connections
  --seconds S                 measure for S seconds instead (1)
  --fill N                    first store every key N times (0)
  --verify                    then read every key and check its value
  --warmup N                  then run N operations per connection unmeasured (0)
  --handshake                 then print "ready" and wait for a line on standard input
)";

enum class Operation : std::uint8_t { kGet, kSet };

struct Options {
  Protocol protocol = Protocol::kResp;
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;
  Operation operation = Operation::kGet;
  std::size_t value_bytes = 1'000'000;
  std::size_t keys = 16;
  std::string prefix = "bench";
  std::size_t connections = 1;
  std::optional<std::size_t> count;
  double seconds = 1;
  std::size_t fill = 0;
  bool verify = false;
  std::size_t warmup = 0;
  bool handshake = false;
};

[[noreturn]] void Die(std::string_view message) {
  fmt::print(stderr, "load_client: {}\n", message);
  std::exit(1);
}

[[noreturn]] void DieOfUsage(std::string_view message) {
  fmt::print(stderr, "load_client: {}\n{}", message, kUsage);
  std::exit(2);
}

// "8", "1.5MB", "64KiB"
double ParseNumber(std::string_view flag, std::string_view text) {
  double number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
  if (error != std::errc() || number < 0) DieOfUsage(fmt::format("{} {}: no number", flag, text));
  if (unit.empty() || unit == "B") return number;
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
  for (const auto& [name, factor] : kUnits) {
    if (unit == name) return number * factor;
  }
  DieOfUsage(fmt::format("{} {}: unknown unit {}", flag, text, unit));
}

void Apply(std::string_view flag, std::string_view value, Options& options) {
  const auto number = [&] { return static_cast<std::size_t>(ParseNumber(flag, value)); };
  if (flag == "--protocol" && (value == "resp" || value == "memcached")) {
    options.protocol = value == "resp" ? Protocol::kResp : Protocol::kMemcached;
  } else if (flag == "--op" && (value == "get" || value == "set")) {
    options.operation = value == "get" ? Operation::kGet : Operation::kSet;
  } else if (flag == "--address") {
    options.address = value;
  } else if (flag == "--port" && number() > 0 && number() < 65536) {
    options.port = static_cast<std::uint16_t>(number());
  } else if (flag == "--size") {
    options.value_bytes = number();
  } else if (flag == "--keys" && number() > 0) {
    options.keys = number();
  } else if (flag == "--prefix" && value.size() <= 128) {
    options.prefix = value;
  } else if (flag == "--connections" && number() > 0) {
    options.connections = number();
  } else if (flag == "--count") {
    options.count = number();
  } else if (flag == "--seconds") {
    options.seconds = ParseNumber(flag, value);
  } else if (flag == "--fill") {
    options.fill = number();
  } else if (flag == "--warmup") {
    options.warmup = number();
  } else {
    DieOfUsage(fmt::format("{} {}: unknown or out of range", flag, value));
  }
}

Options ParseArguments(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--help") {
      fmt::print("{}", kUsage);
      std::exit(0);
    }
    if (flag == "--verify") {
      options.verify = true;
    } else if (flag == "--handshake") {
      options.handshake = true;
    } else if (i + 1 < argc) {
      Apply(flag, argv[++i], options);
    } else {
      DieOfUsage(fmt::format("{}: unknown, or lacks its value", flag));
    }
  }
  if (options.port == 0) DieOfUsage("--port is missing");
  return options;
}

class HugeBuffer {
 public:
  explicit HugeBuffer(std::size_t bytes) : bytes_(bytes), data_(MapMemory(bytes, Prefault::kYes)) {
    if (data_ == nullptr) Die(fmt::format("the kernel has no {} bytes of memory", bytes));
  }
  ~HugeBuffer() { UnmapMemory(data_, bytes_); }
  HugeBuffer(const HugeBuffer&) = delete;
  HugeBuffer& operator=(const HugeBuffer&) = delete;
  std::byte* data() const { return data_; }

 private:
  const std::size_t bytes_;
  std::byte* const data_;
};

// The values to store, in about kBytes of memory, so that a SET sends from memory that is in no
// core's cache: that is where an application's data is. Where keys are too many for that,
// neighbours share a slot and lie there overlapped, as the pattern allows.
class SourceValues {
 public:
  SourceValues(std::size_t value_bytes, std::size_t keys)
      : keys_per_slot_(KeysPerSlot(value_bytes, keys)),
        slot_bytes_(value_bytes + kPatternStep * (keys_per_slot_ - 1)),
        slots_((keys + keys_per_slot_ - 1) / keys_per_slot_),
        buffer_(slots_ * slot_bytes_ + 1) {
    for (std::size_t slot = 0; slot < slots_; ++slot) {
      FillPattern(buffer_.data() + slot * slot_bytes_, slot_bytes_, slot * keys_per_slot_);
    }
  }

  const std::byte* Of(std::size_t key) const {
    return buffer_.data() + key / keys_per_slot_ * slot_bytes_ +
           key % keys_per_slot_ * kPatternStep;
  }

 private:
  static constexpr std::size_t kBytes = 64'000'000;

  static std::size_t KeysPerSlot(std::size_t value_bytes, std::size_t keys) {
    const std::size_t slots =
        std::max<std::size_t>(kBytes / std::max<std::size_t>(value_bytes, 1), 1);
    return (keys + slots - 1) / slots;
  }

  const std::size_t keys_per_slot_;
  const std::size_t slot_bytes_;
  const std::size_t slots_;
  HugeBuffer buffer_;
};

// What all connections share; read-only while they run.
struct Plan {
  explicit Plan(const Options& o) : options(o), common(MakeCommonFrames(o.protocol)) {
    const bool stores = o.fill > 0 || o.operation == Operation::kSet;
    if (stores) {
      values = std::make_unique<SourceValues>(o.value_bytes, o.keys);
    }
    for (std::size_t i = 0; i < o.keys; ++i) {
      keys.push_back(MakeKeyFrames(o.protocol, fmt::format("{}:{}", o.prefix, i), o.value_bytes));
    }
  }

  const Options& options;
  const CommonFrames common;
  std::vector<KeyFrames> keys;
  std::unique_ptr<SourceValues> values;
};

struct Outcome {
  std::vector<std::uint64_t> latency_nanos;  // of the operations that succeeded
  std::size_t errors = 0;
  std::string first_error;
  SteadyClock::time_point begin;
  SteadyClock::time_point end;
};

class Worker {
 public:
  Worker(const Plan& plan, std::size_t index)
      : plan_(plan),
        next_key_(index * plan.options.keys / plan.options.connections),
        connection_(plan.options.address, plan.options.port, plan.common) {
    const bool reads = plan.options.verify || plan.options.operation == Operation::kGet;
    if (reads) {
      receive_ =
          std::make_unique<HugeBuffer>(plan.options.value_bytes + LoadConnection::kFramingRoom);
    }
    Open();
  }

  // Stores every key `times` times; ends the program if that fails.
  void FillAll(std::size_t times) {
    for (std::size_t i = 0; i < times * plan_.options.keys; ++i) {
      const std::size_t key = i % plan_.options.keys;
      if (Status stored = SetOne(key); !stored) DieAtKey("store", key, stored.error());
    }
  }

  // Reads every key and checks every byte; ends the program if one is wrong.
  void VerifyAll() {
    const std::size_t bytes = plan_.options.value_bytes;
    for (std::size_t key = 0; key < plan_.options.keys; ++key) {
      Result<const std::byte*> value = connection_.Get(plan_.keys[key], bytes, receive_->data());
      if (!value) DieAtKey("read", key, value.error());
      const std::size_t wrong_at = FirstMismatch(*value, bytes, key);
      if (wrong_at != bytes) {
        Die(fmt::format("value of key {}:{} is wrong near byte {}", plan_.options.prefix, key,
                        wrong_at));
      }
    }
  }

  void WarmUp() {
    // Touches the pages of the record too.
    outcome_.latency_nanos.resize(kExpectedOperations);
    outcome_.latency_nanos.clear();
    for (std::size_t i = 0; i < plan_.options.warmup; ++i) {
      const std::size_t key = NextKey();
      if (Status done = RunOne(key); !done) DieAtKey("warm-up", key, done.error());
    }
  }

  void Measure() {
    const Options& options = plan_.options;
    const std::size_t most =
        options.count ? *options.count / options.connections : static_cast<std::size_t>(-1);
    SteadyClock::time_point now = outcome_.begin = SteadyClock::now();
    const auto until = options.count ? SteadyClock::time_point::max()
                                     : now + std::chrono::duration_cast<SteadyClock::duration>(
                                                 std::chrono::duration<double>(options.seconds));
    for (std::size_t i = 0; i < most && now < until; ++i) {
      const Status done = RunOne(NextKey());
      const SteadyClock::time_point then = std::exchange(now, SteadyClock::now());
      if (done) {
        outcome_.latency_nanos.push_back(static_cast<std::uint64_t>((now - then).count()));
      } else {
        RecordError(done.error());
      }
    }
    outcome_.end = now;
  }

  const Outcome& outcome() const { return outcome_; }

 private:
  static constexpr std::size_t kExpectedOperations = 1U << 18;

  void Open() {
    if (Status opened = connection_.Connect(); !opened) Die(opened.error().message);
  }

  std::size_t NextKey() {
    const std::size_t key = next_key_;
    next_key_ = key + 1 == plan_.options.keys ? 0 : key + 1;
    return key;
  }

  Status SetOne(std::size_t key) {
    return connection_.Set(plan_.keys[key], plan_.values->Of(key), plan_.options.value_bytes);
  }

  Status RunOne(std::size_t key) {
    if (plan_.options.operation == Operation::kSet) return SetOne(key);
    Result<const std::byte*> value =
        connection_.Get(plan_.keys[key], plan_.options.value_bytes, receive_->data());
    if (!value) return tl::make_unexpected(value.error());
    return {};
  }

  // After an error the stream is at an unknown position, so it is opened anew.
  void RecordError(const Error& error) {
    if (outcome_.errors++ == 0) outcome_.first_error = error.ToString();
    Open();
  }

  [[noreturn]] void DieAtKey(std::string_view what, std::size_t key, const Error& error) {
    Die(fmt::format("{} of key {}:{}: {}", what, plan_.options.prefix, key, error.ToString()));
  }

  const Plan& plan_;
  std::size_t next_key_;
  LoadConnection connection_;
  std::unique_ptr<HugeBuffer> receive_;
  Outcome outcome_;
};

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void WaitForHarness() {
  fmt::print("ready\n");
  std::fflush(stdout);
  for (int c = std::getchar(); c != '\n'; c = std::getchar()) {
    if (c == EOF) Die("standard input ended before the word to begin");
  }
}

// CPU seconds of this process while all workers measure, each on its own thread.
double MeasureAll(std::vector<std::unique_ptr<Worker>>& workers) {
  if (workers.size() == 1) {
    const double before = CpuSeconds();
    workers.front()->Measure();
    return CpuSeconds() - before;
  }
  std::barrier start(static_cast<std::ptrdiff_t>(workers.size() + 1));
  std::vector<std::thread> threads;
  for (auto& worker : workers) {
    threads.emplace_back([&start, &worker] {
      start.arrive_and_wait();
      worker->Measure();
    });
  }
  const double before = CpuSeconds();
  start.arrive_and_wait();
  for (std::thread& thread : threads) thread.join();
  return CpuSeconds() - before;
}

// Value at `fraction` of the sorted sample, in microseconds (nearest rank).
double PercentileMicros(const std::vector<std::uint64_t>& sorted_nanos, double fraction) {
  if (sorted_nanos.empty()) return 0;
  const double rank = fraction * static_cast<double>(sorted_nanos.size() - 1);
  return static_cast<double>(sorted_nanos[static_cast<std::size_t>(rank + 0.5)]) * 1e-3;
}

// An error's text as the inside of a JSON string.
std::string JsonEscape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return escaped;
}

// Prints the line of JSON and returns how many operations failed.
std::size_t Report(const Options& options, const std::vector<std::unique_ptr<Worker>>& workers,
                   double cpu_seconds) {
  std::vector<std::uint64_t> latencies;
  std::size_t errors = 0;
  std::string first_error;
  SteadyClock::time_point begin = SteadyClock::time_point::max();
  SteadyClock::time_point end = SteadyClock::time_point::min();
  for (const auto& worker : workers) {
    const Outcome& outcome = worker->outcome();
    latencies.insert(latencies.end(), outcome.latency_nanos.begin(), outcome.latency_nanos.end());
    if (errors == 0) first_error = outcome.first_error;
    errors += outcome.errors;
    begin = std::min(begin, outcome.begin);
    end = std::max(end, outcome.end);
  }
  std::sort(latencies.begin(), latencies.end());
  fmt::print(
      "{{\"op\": \"{}\", \"size\": {}, \"keys\": {}, \"connections\": {}, \"ops\": {}, "
      "\"bytes\": {}, \"wall_seconds\": {:.9f}, \"cpu_seconds\": {:.6f}, \"p50_us\": {:.3f}, "
      "\"p99_us\": {:.3f}, \"max_us\": {:.3f}, \"errors\": {}, \"first_error\": \"{}\"}}\n",
      options.operation == Operation::kGet ? "get" : "set", options.value_bytes, options.keys,
      options.connections, latencies.size(), latencies.size() * options.value_bytes,
      std::chrono::duration<double>(end - begin).count(), cpu_seconds,
      PercentileMicros(latencies, 0.50), PercentileMicros(latencies, 0.99),
      PercentileMicros(latencies, 1.0), errors, JsonEscape(first_error));
  return errors;
}

int Run(int argc, char** argv) {
  const Options options = ParseArguments(argc, argv);
  const Plan plan(options);
  std::vector<std::unique_ptr<Worker>> workers;
  for (std::size_t i = 0; i < options.connections; ++i) {
    workers.push_back(std::make_unique<Worker>(plan, i));
  }
  workers.front()->FillAll(options.fill);
  if (options.verify) workers.front()->VerifyAll();
  for (auto& worker : workers) worker->WarmUp();
  if (options.handshake) WaitForHarness();
  const double cpu_seconds = MeasureAll(workers);
  return Report(options, workers, cpu_seconds) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace infinicache::bench

int main(int argc, char** argv) {
  return infinicache::bench::Run(argc, argv);
}
