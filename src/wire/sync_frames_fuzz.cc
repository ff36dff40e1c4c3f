// Any header with any metadata as the messages of a backup: no crash, and what is decoded, encoded
// and decoded again is the same.
#include "wire/sync_frames.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "wire/frame_for_fuzz.h"

namespace infinicache::wire {
namespace {

void FuzzCommand(const FrameHeader& header, std::string_view meta) {
  const auto command = DecodeSync(header, meta);
  if (!command) return;
  CHECK(EncodeSyncTarget(*command) == meta);
  CHECK(DecodeSync(EncodeSync(*command), meta) == *command);
  CHECK(command->within >= Duration(0));
}

void FuzzReport(const FrameHeader& header, std::string_view meta) {
  const auto report = DecodeSyncReport(header, meta);
  if (!report) return;
  CHECK(EncodeSyncTotals(report->totals) == meta);
  const FrameHeader encoded = EncodeSyncReport(*report);
  CHECK(encoded.request == header.request && encoded.status == header.status);
}

void FuzzState(const FrameHeader& header) {
  const SyncState state = DecodeSyncState(header);
  CHECK(DecodeSyncState(EncodeSyncState(FrameType::kSyncState, header.request, state)) == state);
}

}  // namespace
}  // namespace infinicache::wire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace infinicache::wire;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto header = HeaderForFuzz(bytes);
  if (!header) return 0;
  FuzzCommand(*header, MetaForFuzz(bytes));
  FuzzReport(*header, MetaForFuzz(bytes));
  FuzzState(*header);
  return 0;
}
