// Any header with any metadata as the messages of a session: no crash, and what is decoded, encoded
// and decoded again is the same.
#include "wire/session_frames.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "wire/frame_for_fuzz.h"

namespace infinicache::wire {
namespace {

void FuzzPong(const FrameHeader& header) {
  const Pong pong = DecodePong(header);
  CHECK(pong.runs_for >= Duration(0));
  const Pong again = DecodePong(EncodePong(pong));
  CHECK(again.session == pong.session && again.instance == pong.instance);
  CHECK(again.runs_for == pong.runs_for);
  CHECK(again.fill.bytes_used == header.offset && again.fill.chunks == header.length);
}

void FuzzTotals(std::string_view meta) {
  const auto totals = ParseByeTotals(meta);
  if (!totals) return;
  CHECK(totals->elapsed >= Duration(0));
  CHECK(ParseByeTotals(EncodeByeTotals(*totals)) == *totals);
}

}  // namespace
}  // namespace infinicache::wire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace infinicache::wire;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto header = HeaderForFuzz(bytes)) FuzzPong(*header);
  FuzzTotals(bytes);
  return 0;
}
