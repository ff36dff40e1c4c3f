// Encode, decode and CRC32C in bytes of data per second, ours beside ISA-L and memcpy.
//
// Strips of 64 KiB show the kernels (a row fits the L2 cache), strips of 1 MiB the memory. For the
// ratios alone: coding_bench --benchmark_filter=Ratio; read the counters, not the times. A ratio is
// the median over rounds in which both run in turn, so that a slow moment of a shared machine hits
// both.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "coding/codec.h"
#include "coding/crc32c.h"
#include "coding/strips_for_test.h"

namespace infinicache::coding {
namespace {

// One row of a code and the strips of it that a benchmark takes for lost.
struct Row {
  Row(Code code, std::size_t strip_bytes) : code(code), strips(code.width(), strip_bytes) {
    Random random(1);
    for (std::size_t i = 0; i < code.width(); ++i) strips.Fill(i, random);
  }

  void Encode(const Codec& codec) {
    codec.Encode(strips.first(code.data), strips.from(code.data), strips.bytes());
  }

  // The first `lost` data strips.
  void Decode(const Codec& codec, std::size_t lost) {
    const std::uint64_t wanted = (std::uint64_t{1} << lost) - 1;
    const std::uint64_t all = (std::uint64_t{1} << code.width()) - 1;
    codec.Reconstruct(strips.all(), all & ~wanted, wanted, strips.bytes());
  }

  std::int64_t data_bytes() const { return static_cast<std::int64_t>(code.data * strips.bytes()); }

  Code code;
  StripsForTest strips;
};

void EncodeBench(benchmark::State& state, Code code, Kernel kernel, std::size_t strip_bytes) {
  if (!KernelSupported(kernel)) {
    state.SkipWithError("not supported by this CPU");
    return;
  }
  const auto codec = Codec::For(code, kernel);
  Row row(code, strip_bytes);
  for (auto _ : state) {
    row.Encode(*codec);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * row.data_bytes());
}

void DecodeBench(benchmark::State& state, Code code, Kernel kernel, std::size_t strip_bytes,
                 std::size_t lost) {
  if (!KernelSupported(kernel)) {
    state.SkipWithError("not supported by this CPU");
    return;
  }
  const auto codec = Codec::For(code, kernel);
  Row row(code, strip_bytes);
  for (auto _ : state) {
    row.Decode(*codec, lost);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * row.data_bytes());
}

void MemcpyBench(benchmark::State& state, std::size_t strip_bytes) {
  Row row({10, 0}, strip_bytes);
  Row copy({10, 0}, strip_bytes);
  for (auto _ : state) {
    for (std::size_t i = 0; i < 10; ++i) {
      std::memcpy(copy.strips.all()[i], row.strips.all()[i], strip_bytes);
    }
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * row.data_bytes());
}

void Crc32cBench(benchmark::State& state, std::size_t bytes) {
  Row row({1, 0}, bytes);
  for (auto _ : state) benchmark::DoNotOptimize(Crc32c(row.strips.strip(0)));
  state.SetBytesProcessed(state.iterations() * row.data_bytes());
}

template <typename Operation>
double Seconds(const Operation& operation, int repetitions) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < repetitions; ++i) operation();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Counter `ratio_to_isal`: how many times faster than ISA-L the best kernel is.
template <typename Operation>
void RatioBench(benchmark::State& state, Code code, const Operation& operation) {
  constexpr std::size_t kStripBytes = 64 * kKiB;
  const auto ours = Codec::For(code);
  const auto isal = Codec::For(code, Kernel::kIsal);
  Row row(code, kStripBytes);
  std::vector<double> ratios;
  for (auto _ : state) {
    const double ours_seconds = Seconds([&] { operation(row, *ours); }, 20);
    const double isal_seconds = Seconds([&] { operation(row, *isal); }, 20);
    ratios.push_back(isal_seconds / ours_seconds);
  }
  std::nth_element(ratios.begin(), ratios.begin() + ratios.size() / 2, ratios.end());
  state.counters["ratio_to_isal"] = ratios[ratios.size() / 2];
  state.SetLabel(std::string(KernelName(ours->kernel())));
}

std::string SizeName(std::size_t bytes) {
  return bytes >= kMiB ? fmt::format("{}MiB", bytes / kMiB) : fmt::format("{}KiB", bytes / kKiB);
}

void RegisterCode(Code code, std::size_t bytes) {
  for (const Kernel kernel : kKernels) {
    const std::string suffix =
        fmt::format("{}/{}/{}", code.ToString(), SizeName(bytes), KernelName(kernel));
    benchmark::RegisterBenchmark(("Encode/" + suffix).c_str(), EncodeBench, code, kernel, bytes);
    for (std::size_t lost = 1; lost <= std::min<std::size_t>(code.parity, 2); ++lost) {
      benchmark::RegisterBenchmark(fmt::format("Decode{}/{}", lost, suffix).c_str(), DecodeBench,
                                   code, kernel, bytes, lost);
    }
  }
}

void RegisterRatio(Code code) {
  const auto register_one = [code](const std::string& name, const auto& operation) {
    benchmark::RegisterBenchmark(
        fmt::format("Ratio/{}/{}", name, code.ToString()).c_str(),
        [code, operation](benchmark::State& state) { RatioBench(state, code, operation); });
  };
  register_one("Encode", [](Row& row, const Codec& codec) { row.Encode(codec); });
  for (std::size_t lost = 1; lost <= std::min<std::size_t>(code.parity, 2); ++lost) {
    register_one(fmt::format("Decode{}", lost),
                 [lost](Row& row, const Codec& codec) { row.Decode(codec, lost); });
  }
}

const bool kRegistered = [] {
  constexpr Code kCodes[] = {{10, 2}, {10, 1}, {4, 2}, {12, 4}};
  for (const Code code : kCodes) RegisterRatio(code);
  for (const std::size_t bytes : {64 * kKiB, 128 * kKiB, 1 * kMiB}) {
    for (const Code code : kCodes) RegisterCode(code, bytes);
    benchmark::RegisterBenchmark(("Memcpy/10x" + SizeName(bytes)).c_str(), MemcpyBench, bytes);
  }
  for (const std::size_t bytes : {1 * kKiB, 64 * kKiB, 128 * kKiB, 16 * kMiB}) {
    benchmark::RegisterBenchmark(("Crc32c/" + SizeName(bytes)).c_str(), Crc32cBench, bytes);
  }
  return true;
}();

}  // namespace
}  // namespace infinicache::coding
