// Where a chunk lies in its node's memory (kLocated), for a proxy that has mapped that memory: the
// metadata block of the frame, sans I/O.
//
//   u32 strips, then for each strip:  u32 crc  u32 pieces, then for each piece:  u64 offset  u32
//   bytes
//
// Numbers are little-endian, offsets count from the memory's first byte. The encoding is canonical.
//
// Thread-safety: values. Cost: 12 bytes per strip and 16 per piece; mostly a strip is one piece.
#pragma once

#include <boost/container/small_vector.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace infinicache::wire {

struct ChunkLocation {
  struct Piece {
    std::uint64_t offset = 0;
    std::uint32_t bytes = 0;  // > 0
    friend bool operator==(const Piece&, const Piece&) = default;
  };
  struct Strip {
    std::uint32_t crc = 0;  // CRC32C of the strip's bytes
    std::uint32_t first_piece = 0;
    std::uint32_t pieces = 0;
    friend bool operator==(const Strip&, const Strip&) = default;
  };

  // Most chunks have one strip in one piece.
  boost::container::small_vector<Strip, 1> strips;
  boost::container::small_vector<Piece, 1> pieces;

  void AddStrip(std::uint32_t crc);
  // To the last strip; one with what it continues. REQUIRES: there is a strip.
  void AddPiece(std::uint64_t offset, std::uint32_t bytes);
  std::span<const Piece> PiecesOf(const Strip& strip) const {
    return std::span(pieces).subspan(strip.first_piece, strip.pieces);
  }
  std::size_t EncodedBytes() const;

  friend bool operator==(const ChunkLocation&, const ChunkLocation&) = default;
};

std::string EncodeChunkLocation(const ChunkLocation& location);
void AppendChunkLocation(const ChunkLocation& location, std::string& out);
// Errors: kProtocol.
Result<ChunkLocation> ParseChunkLocation(std::string_view bytes);

}  // namespace infinicache::wire
