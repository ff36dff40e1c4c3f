#include "wire/chunk_location.h"

#include "base/check.h"
#include "wire/little_endian.h"

namespace infinicache::wire {
namespace {

constexpr std::size_t kCountBytes = 4;
constexpr std::size_t kStripFixedBytes = 4 + 4;
constexpr std::size_t kPieceBytes = 8 + 4;

tl::unexpected<Error> BadLocation() {
  return Fail(ErrorCode::kProtocol, "bad location of a chunk");
}

}  // namespace

void ChunkLocation::AddStrip(std::uint32_t crc) {
  strips.push_back({crc, static_cast<std::uint32_t>(pieces.size()), 0});
}

void ChunkLocation::AddPiece(std::uint64_t offset, std::uint32_t bytes) {
  CHECK(!strips.empty());
  Strip& strip = strips.back();
  if (strip.pieces > 0 && pieces.back().offset + pieces.back().bytes == offset) {
    pieces.back().bytes += bytes;
    return;
  }
  pieces.push_back({offset, bytes});
  ++strip.pieces;
}

std::size_t ChunkLocation::EncodedBytes() const {
  return kCountBytes + strips.size() * kStripFixedBytes + pieces.size() * kPieceBytes;
}

std::string EncodeChunkLocation(const ChunkLocation& location) {
  std::string out;
  out.reserve(location.EncodedBytes());
  AppendChunkLocation(location, out);
  return out;
}

void AppendChunkLocation(const ChunkLocation& location, std::string& out) {
  AppendNumber(static_cast<std::uint32_t>(location.strips.size()), out);
  for (const ChunkLocation::Strip& strip : location.strips) {
    AppendNumber(strip.crc, out);
    AppendNumber(strip.pieces, out);
    for (const ChunkLocation::Piece& piece : location.PiecesOf(strip)) {
      AppendNumber(piece.offset, out);
      AppendNumber(piece.bytes, out);
    }
  }
}

Result<ChunkLocation> ParseChunkLocation(std::string_view bytes) {
  if (bytes.size() < kCountBytes) return BadLocation();
  const std::size_t strips = TakeNumber<std::uint32_t>(bytes);
  if (strips > bytes.size() / kStripFixedBytes) return BadLocation();
  ChunkLocation location;
  location.strips.reserve(strips);
  for (std::size_t i = 0; i < strips; ++i) {
    if (bytes.size() < kStripFixedBytes) return BadLocation();
    location.AddStrip(TakeNumber<std::uint32_t>(bytes));
    const std::size_t pieces = TakeNumber<std::uint32_t>(bytes);
    if (pieces > bytes.size() / kPieceBytes) return BadLocation();
    for (std::size_t j = 0; j < pieces; ++j) {
      const std::uint64_t offset = TakeNumber<std::uint64_t>(bytes);
      location.AddPiece(offset, TakeNumber<std::uint32_t>(bytes));
    }
    // Two that are one, which nobody encodes so.
    if (location.strips.back().pieces != pieces) return BadLocation();
  }
  if (!bytes.empty()) return BadLocation();
  return location;
}

}  // namespace infinicache::wire
