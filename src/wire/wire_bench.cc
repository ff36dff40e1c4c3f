// The small codecs: frame headers, globs, replies.
#include "wire/frame.h"

#include <benchmark/benchmark.h>

#include <array>

#include "wire/glob.h"
#include "wire/header_crc.h"
#include "wire/resp_writer.h"

namespace infinicache::wire {
namespace {

constexpr FrameHeader kHeader = {
    .type = FrameType::kData, .payload_bytes = 128 << 10, .request = 12345, .length = 128 << 10};

void BM_EncodeFrameHeader(benchmark::State& state) {
  std::array<std::byte, kFrameHeaderBytes> bytes;
  for (auto _ : state) {
    EncodeFrameHeader(kHeader, bytes);
    benchmark::DoNotOptimize(bytes);
  }
}
BENCHMARK(BM_EncodeFrameHeader);

void BM_DecodeFrameHeader(benchmark::State& state) {
  std::array<std::byte, kFrameHeaderBytes> bytes;
  EncodeFrameHeader(kHeader, bytes);
  for (auto _ : state) {
    benchmark::DoNotOptimize(bytes);
    benchmark::DoNotOptimize(DecodeFrameHeader(bytes));
  }
}
BENCHMARK(BM_DecodeFrameHeader);

void BM_HeaderCrcPortable(benchmark::State& state) {
  const std::array<std::byte, 60> bytes{};
  for (auto _ : state) benchmark::DoNotOptimize(HeaderCrc32cPortable(bytes));
}
BENCHMARK(BM_HeaderCrcPortable);

void BM_GlobMatch(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(GlobMatch("layer:*:sha256:*", "layer:000000012345:sha256:0123456789"));
  }
}
BENCHMARK(BM_GlobMatch);

void BM_WriteReply(benchmark::State& state) {
  std::string out;
  for (auto _ : state) {
    out.clear();
    RespWriter writer(out, 3);
    writer.Array(2);
    writer.Bulk("hello world");
    writer.Integer(1234567);
    benchmark::DoNotOptimize(out.data());
  }
}
BENCHMARK(BM_WriteReply);

}  // namespace
}  // namespace infinicache::wire
