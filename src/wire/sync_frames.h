// The messages of a backup, in which a node's primary instance sends to its peer what has changed.
//
// On the control links, between proxy and instance:
//
//   kSync        request = session, object = the other instance, version = microseconds that the
//                round may take, offset = bytes per second at most (0: no limit);
//                flags: first = the receiver is the source, last = by way of the relay;
//                metadata: the token of the round (16 bytes), then the address to dial, empty for
//                who is dialled
//   kSyncReport  of the source, at the end: request = session, status;
//                metadata: SyncTotals (48 bytes)
//   kSyncClose   to the source: request = session; the round is over, and the peer has returned
//
// On the link between the two, which the source uses as a proxy would (put, delete, set_expiry,
// inventory):
//
//   kSync        behind the handshake with the relay: its metadata is the token
//   kSyncOpen    object = the source: what do you hold a copy of?
//   kSyncClose   object = the source, offset = sequence: you hold all its changes up to this one
//   kSyncState   the answer to both: object = the instance whose copy this is (0: of none),
//                offset = the sequence; flags: last = nothing else was begun since
//
// Thread-safety: free functions on values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "wire/frame.h"

namespace infinicache::wire {

// Names one round of one backup; whoever knows it is let into the relay.
using SyncToken = std::array<std::byte, 16>;

struct SyncCommand {
  SessionId session;
  InstanceId other;
  bool is_source = false;
  bool by_relay = false;
  Duration within{0};                  // whole microseconds, not negative
  std::uint64_t bytes_per_second = 0;  // 0: no limit
  SyncToken token{};
  std::string address = {};  // at most kSyncAddressBytesMax

  friend bool operator==(const SyncCommand&, const SyncCommand&) = default;
};
inline constexpr std::size_t kSyncAddressBytesMax = 256;

// What a round has moved.
struct SyncTotals {
  std::uint64_t chunks = 0;
  std::uint64_t chunk_bytes = 0;
  std::uint64_t traffic_bytes = 0;  // of the link, both ways, with all that is not payload
  std::uint64_t removals = 0;
  std::uint64_t expiries = 0;
  std::uint64_t compared = 0;  // chunks of the peer that were listed, 0 for a delta

  friend bool operator==(const SyncTotals&, const SyncTotals&) = default;
};

struct SyncReport {
  SessionId session;
  std::optional<ErrorCode> failure = {};  // none: the peer is up to date
  SyncTotals totals;
};

// What an instance is a copy of.
struct SyncState {
  InstanceId source;
  std::uint64_t sequence = 0;
  bool complete = false;

  friend bool operator==(const SyncState&, const SyncState&) = default;
};

FrameHeader EncodeSync(const SyncCommand& command);
// The metadata that follows. REQUIRES: the address is not too long.
std::string EncodeSyncTarget(const SyncCommand& command);
// Errors: kProtocol.
Result<SyncCommand> DecodeSync(const FrameHeader& header, std::string_view meta);

FrameHeader EncodeSyncReport(const SyncReport& report);
std::string EncodeSyncTotals(const SyncTotals& totals);
// Errors: kProtocol.
Result<SyncReport> DecodeSyncReport(const FrameHeader& header, std::string_view meta);

// kSyncOpen, kSyncClose or kSyncState, as `type` says.
FrameHeader EncodeSyncState(FrameType type, std::uint64_t request, const SyncState& state);
SyncState DecodeSyncState(const FrameHeader& header);

}  // namespace infinicache::wire
