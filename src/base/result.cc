#include "base/result.h"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace infinicache {

std::string_view ErrorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kOutOfMemory:
      return "out_of_memory";
    case ErrorCode::kTooLarge:
      return "too_large";
    case ErrorCode::kUnavailable:
      return "unavailable";
    case ErrorCode::kDeadlineExceeded:
      return "deadline_exceeded";
    case ErrorCode::kCancelled:
      return "cancelled";
    case ErrorCode::kCorrupt:
      return "corrupt";
    case ErrorCode::kUnauthenticated:
      return "unauthenticated";
    case ErrorCode::kProtocol:
      return "protocol";
    case ErrorCode::kAborted:
      return "aborted";
    case ErrorCode::kInternal:
      return "internal";
  }
  return "unknown";
}

std::string Error::ToString() const {
  return fmt::format("{}: {}", ErrorCodeName(code), message);
}

Error ErrnoError(std::string_view what, int error_number) {
  const ErrorCode code =
      error_number == ECONNREFUSED || error_number == ECONNRESET || error_number == EPIPE
          ? ErrorCode::kUnavailable
          : ErrorCode::kInternal;
  return Error{code, fmt::format("{}: {}", what, std::generic_category().message(error_number))};
}

}  // namespace infinicache
