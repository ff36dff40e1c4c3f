// Erasure coding of one row of strips: systematic Reed-Solomon over GF(2^8), polynomial 0x11D.
//
// Any d of the d+p strips of a row give all others. Data strips are stored as they are, so that a
// read with all data at hand decodes nothing. The matrix is described in coding/gf_matrix.h, the
// geometry of rows in coding/stripe_layout.h. One product bears all: strips times a small matrix,
// done by GFNI with AVX-512 or AVX2, else by ISA-L (coding/kernel.h). All kernels give the same
// bytes.
//
// Thread-safety: immutable to its users; any thread may use any codec at any time. Ownership:
// shared; codecs live as long as the process. The strips are the caller's and are not kept.
// Cost: memory-bound above the L2 cache; in it, encoding 10+2 runs at 80 to 90 GB/s of data per
// core with AVX-512. The first reconstruction of a loss pattern inverts a matrix (3 to 10 µs),
// later ones find it in a cache of bounded size (about 50 ns).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>

#include "coding/code.h"
#include "coding/gf_matrix.h"
#include "coding/kernel.h"
#include "coding/linear_map.h"

namespace infinicache::coding {

class Codec {
 public:
  // The process-wide codec of `code`. REQUIRES: IsValid(code), KernelSupported(kernel).
  static std::shared_ptr<const Codec> For(Code code, Kernel kernel = Kernel::kAuto);

  Codec(const Codec&) = delete;
  Codec& operator=(const Codec&) = delete;

  Code code() const { return code_; }
  Kernel kernel() const { return kernel_; }  // the one in use, never kAuto

  // Computes the p parity strips from the d data strips, all `bytes` long.
  // REQUIRES: data.size() == d, parity.size() == p; `bytes` a multiple of 64; every pointer 64-byte
  // aligned; no strip overlaps a parity strip. A data strip that is shorter is padded with zeros by
  // the caller.
  void Encode(std::span<const std::byte* const> data, std::span<std::byte* const> parity,
              std::size_t bytes) const;

  // Computes every strip in `wanted`, data or parity, into strips[i]. Bit i of `present` says that
  // strips[i] holds strip i; these are only read, and just d of them: the first ones, data before
  // parity. The other pointers are not touched and may be null.
  // REQUIRES: strips.size() == d+p; at least d bits in `present`; `wanted` disjoint from it; else
  // as Encode.
  void Reconstruct(std::span<std::byte* const> strips, std::uint64_t present, std::uint64_t wanted,
                   std::size_t bytes) const;

 private:
  // Loss patterns kept per codec: all 78 of a 10+2 code, and what a wider one has at a time. When
  // the cache is full it is emptied; a pool in trouble has few patterns at once.
  static constexpr std::size_t kMapsMax = 512;

  struct Pattern {
    std::uint64_t sources;  // the d strips that are read
    std::uint64_t wanted;
    friend bool operator==(const Pattern&, const Pattern&) = default;
  };
  struct PatternHash {
    std::size_t operator()(const Pattern& pattern) const;
  };

  Codec(Code code, Kernel kernel);

  std::shared_ptr<const internal::LinearMap> MapFor(const Pattern& pattern) const;

  const Code code_;
  const Kernel kernel_;
  const GfMatrix generator_;
  const internal::LinearMap encode_;

  mutable std::mutex mutex_;  // guards maps_; never held while strips are coded
  mutable std::unordered_map<Pattern, std::shared_ptr<const internal::LinearMap>, PatternHash>
      maps_;
};

}  // namespace infinicache::coding
