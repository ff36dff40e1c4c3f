#include "wire/chunk_location.h"

#include <gtest/gtest.h>

#include <string>

namespace infinicache::wire {
namespace {

ChunkLocation TwoStrips() {
  ChunkLocation location;
  location.AddStrip(0x01020304);
  location.AddPiece(4096, 65536);
  location.AddPiece(1024, 2048);
  location.AddStrip(7);
  location.AddPiece(3072, 1000);
  return location;
}

TEST(ChunkLocation, ComesBackAsItWasSent) {
  const ChunkLocation location = TwoStrips();
  const std::string bytes = EncodeChunkLocation(location);
  EXPECT_EQ(bytes.size(), location.EncodedBytes());
  EXPECT_EQ(ParseChunkLocation(bytes), location);
  EXPECT_EQ(ParseChunkLocation(EncodeChunkLocation({})), ChunkLocation{});
}

TEST(ChunkLocation, NeighboursOfAStripAreOnePiece) {
  ChunkLocation location;
  location.AddStrip(1);
  location.AddPiece(4096, 1024);
  location.AddPiece(5120, 512);
  location.AddStrip(2);
  location.AddPiece(5632, 100);  // another strip's
  ASSERT_EQ(location.pieces.size(), 2u);
  EXPECT_EQ(location.pieces[0], (ChunkLocation::Piece{4096, 1536}));
  EXPECT_EQ(location.PiecesOf(location.strips[1])[0], (ChunkLocation::Piece{5632, 100}));
}

TEST(ChunkLocation, EveryOtherLengthIsRefused) {
  const std::string bytes = EncodeChunkLocation(TwoStrips());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto parsed = ParseChunkLocation(std::string_view(bytes).substr(0, length));
    ASSERT_FALSE(parsed) << length;
    EXPECT_EQ(parsed.error().code, ErrorCode::kProtocol);
  }
  EXPECT_FALSE(ParseChunkLocation(bytes + "x"));
  EXPECT_FALSE(ParseChunkLocation("\xFF\xFF\xFF\xFF"));
}

}  // namespace
}  // namespace infinicache::wire
