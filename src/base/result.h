// Expected failures as values.
//
// A function that can fail for a reason outside the program (network, peer, client input, limits,
// configuration) returns Result<T>; a bug is a CHECK (base/check.h). One vocabulary of codes serves
// the whole product: the RESP error, the HTTP status, the exit code, the metric label and the log
// line are all derived from ErrorCode.
//
// Thread-safety: values; no shared state. Cost: an Error holds one std::string; the success path
// allocates nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace infinicache {

enum class ErrorCode : std::uint8_t {
  kInvalidArgument,   // the caller's input is malformed; retrying cannot help
  kNotFound,          // no such key, chunk or node
  kOutOfMemory,       // no node has room
  kTooLarge,          // above a stated limit
  kUnavailable,       // a peer is down or not enough nodes live; a retry may succeed
  kDeadlineExceeded,  // the deadline passed
  kCancelled,         // the requester went away
  kCorrupt,           // a checksum or an invariant of stored data does not hold
  kUnauthenticated,   // bad or missing secret
  kProtocol,          // the peer broke the protocol; its connection is closed
  kAborted,           // a condition of the request does not hold (NX, XX, version changed)
  kInternal,          // a system call failed unexpectedly
};

// Stable lower-case name of `code`, for logs and metric labels ("out_of_memory").
std::string_view ErrorCodeName(ErrorCode code);

struct [[nodiscard]] Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;  // for people: names the cause and, where there is one, the remedy

  // "out_of_memory: message"
  std::string ToString() const;
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

// return Fail(ErrorCode::kNotFound, "…");
inline tl::unexpected<Error> Fail(ErrorCode code, std::string message) {
  return tl::make_unexpected(Error{code, std::move(message)});
}

// The errno of a failed system call as an Error: "what: Connection refused".
Error ErrnoError(std::string_view what, int error_number);

}  // namespace infinicache
