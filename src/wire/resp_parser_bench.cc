// Parsing whole requests from one buffer, as a connection does after a read.
#include "wire/resp_parser.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "base/check.h"

namespace infinicache::wire {
namespace {

void ParseAll(RespParser& parser, std::string_view stream) {
  while (!stream.empty()) {
    std::size_t consumed = 0;
    CHECK(parser.Parse(stream, consumed) == RespParser::Event::kCommand);
    benchmark::DoNotOptimize(parser.arguments().data());
    stream.remove_prefix(consumed);
  }
}

void BM_ParseSet(benchmark::State& state) {
  const std::string value(static_cast<std::size_t>(state.range(0)), 'v');
  const std::string stream = fmt::format(
      "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000012345\r\n${}\r\n{}\r\n", value.size(), value);
  RespParser parser({.buffered_argument_bytes_max = kMiB});
  for (auto _ : state) ParseAll(parser, stream);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(stream.size()));
}
BENCHMARK(BM_ParseSet)->Arg(16)->Arg(1024)->Arg(10240)->Arg(65536);

// The copy alone, for comparison.
void BM_CopyOnly(benchmark::State& state) {
  const std::string value(static_cast<std::size_t>(state.range(0)), 'v');
  std::string copy(value.size(), 0);
  for (auto _ : state) {
    value.copy(copy.data(), value.size());
    benchmark::DoNotOptimize(copy.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_CopyOnly)->Arg(10240)->Arg(65536);

// 100 GETs in one read; the time is per GET.
void BM_ParsePipelinedGets(benchmark::State& state) {
  std::string stream;
  for (int i = 0; i < 100; ++i) {
    stream += fmt::format("*2\r\n$3\r\nGET\r\n$16\r\nkey:{:012}\r\n", i);
  }
  RespParser parser({});
  while (state.KeepRunningBatch(100)) ParseAll(parser, stream);
}
BENCHMARK(BM_ParsePipelinedGets);

void BM_ParseInline(benchmark::State& state) {
  RespParser parser({});
  for (auto _ : state) ParseAll(parser, "SET key:000000012345 \"hello world\"\r\n");
}
BENCHMARK(BM_ParseInline);

// A 10 KB SET that arrives in 1448-byte segments.
void BM_ParseSetInSegments(benchmark::State& state) {
  const std::string stream =
      fmt::format("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10240\r\n{}\r\n", std::string(10240, 'v'));
  RespParser parser({});
  for (auto _ : state) {
    for (std::size_t at = 0; at < stream.size(); at += 1448) {
      std::size_t consumed = 0;
      benchmark::DoNotOptimize(parser.Parse(std::string_view(stream).substr(at, 1448), consumed));
    }
  }
}
BENCHMARK(BM_ParseSetInSegments);

}  // namespace
}  // namespace infinicache::wire
