#include "coding/codec.h"

#include <array>
#include <bit>
#include <map>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/limits.h"

namespace infinicache::coding {
namespace {

static_assert(kCodeWidthMax < 64, "patterns are 64-bit masks");

bool IsAligned(const std::byte* strip) {
  return reinterpret_cast<std::uintptr_t>(strip) % kStripAlignment == 0;
}

void CheckStrip(const std::byte* strip, std::size_t index) {
  CHECK(strip != nullptr && IsAligned(strip), "strip {} at {}", index,
        static_cast<const void*>(strip));
}

// The lowest `count` bits that are set in `mask`.
std::uint64_t LowestBits(std::uint64_t mask, std::size_t count) {
  std::uint64_t result = 0;
  for (; count > 0; --count, mask &= mask - 1) result |= mask & -mask;
  return result;
}

// Calls visit(index) for each bit that is set, in ascending order.
template <typename Visitor>
void ForEachBit(std::uint64_t mask, const Visitor& visit) {
  for (; mask != 0; mask &= mask - 1) visit(static_cast<std::size_t>(std::countr_zero(mask)));
}

}  // namespace

std::shared_ptr<const Codec> Codec::For(Code code, Kernel kernel) {
  CHECK(IsValid(code), "code {}", code.ToString());
  CHECK(KernelSupported(kernel), "kernel {}", KernelName(kernel));
  // Bounded by the number of valid codes. Never destroyed, so that a thread that is still running
  // while the process exits keeps its codec.
  static auto& mutex = *new std::mutex;
  static auto& codecs =
      *new std::map<std::tuple<std::uint8_t, std::uint8_t, Kernel>, std::shared_ptr<const Codec>>;
  const Kernel resolved = ResolveKernel(kernel);
  const std::lock_guard lock(mutex);
  auto& codec = codecs[{code.data, code.parity, resolved}];
  if (!codec) codec.reset(new Codec(code, resolved));
  return codec;
}

Codec::Codec(Code code, Kernel kernel)
    : code_(code),
      kernel_(kernel),
      generator_(GeneratorMatrix(code)),
      encode_(ParityMatrix(code), kernel) {}

void Codec::Encode(std::span<const std::byte* const> data, std::span<std::byte* const> parity,
                   std::size_t bytes) const {
  CHECK(data.size() == code_.data, "{} data strips for {}", data.size(), code_.ToString());
  CHECK(parity.size() == code_.parity, "{} parity strips for {}", parity.size(), code_.ToString());
  CHECK(bytes % kStripAlignment == 0, "{} bytes", bytes);
  for (std::size_t i = 0; i < data.size(); ++i) CheckStrip(data[i], i);
  for (std::size_t i = 0; i < parity.size(); ++i) CheckStrip(parity[i], data.size() + i);
  encode_.Apply(data.data(), parity.data(), bytes);
}

void Codec::Reconstruct(std::span<std::byte* const> strips, std::uint64_t present,
                        std::uint64_t wanted, std::size_t bytes) const {
  CHECK(strips.size() == code_.width(), "{} strips for {}", strips.size(), code_.ToString());
  CHECK((present | wanted) >> strips.size() == 0, "present {:b} wanted {:b}", present, wanted);
  CHECK((present & wanted) == 0, "present {:b} wanted {:b}", present, wanted);
  CHECK(std::popcount(present) >= int{code_.data}, "present {:b}", present);
  CHECK(bytes % kStripAlignment == 0, "{} bytes", bytes);
  if (wanted == 0 || bytes == 0) return;

  const Pattern pattern = {LowestBits(present, code_.data), wanted};
  std::array<const std::byte*, kCodeWidthMax> inputs;
  std::array<std::byte*, kCodeWidthMax> outputs;
  std::size_t inputs_count = 0;
  std::size_t outputs_count = 0;
  ForEachBit(pattern.sources, [&](std::size_t i) {
    CheckStrip(strips[i], i);
    inputs[inputs_count++] = strips[i];
  });
  ForEachBit(wanted, [&](std::size_t i) {
    CheckStrip(strips[i], i);
    outputs[outputs_count++] = strips[i];
  });
  MapFor(pattern)->Apply(inputs.data(), outputs.data(), bytes);
}

std::size_t Codec::PatternHash::operator()(const Pattern& pattern) const {
  // Fibonacci hashing of both masks; each has at most kCodeWidthMax bits.
  constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15ULL;
  const std::uint64_t mixed = (pattern.sources ^ std::rotl(pattern.wanted, 32)) * kGolden;
  return mixed ^ (mixed >> 32);
}

std::shared_ptr<const internal::LinearMap> Codec::MapFor(const Pattern& pattern) const {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = maps_.find(pattern); found != maps_.end()) return found->second;
  }
  // Two threads may prepare the same map; either result will do.
  auto map = std::make_shared<const internal::LinearMap>(
      ReconstructionMatrix(generator_, pattern.sources, pattern.wanted), kernel_);
  const std::lock_guard lock(mutex_);
  if (maps_.size() >= kMapsMax) maps_.clear();
  return maps_.try_emplace(pattern, std::move(map)).first->second;
}

}  // namespace infinicache::coding
