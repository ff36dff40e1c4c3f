// Reads the node protocol's frames from a socket with few system calls.
//
// A header is read together with what follows it, up to the read-ahead; a large payload is then
// received straight into the caller's memory, and the next header comes with its last piece. With a
// read-ahead of exactly one header the payload stays in the socket, from where splice(2) can move
// it.
//
// Use: ReadHeader, then consume the payload completely (ReadPayload, Discard, or by hand through
// `payload_left` when nothing is buffered), then ReadHeader again. One coroutine at a time. The Try
// calls never suspend: they take what is here, and WaitReadable tells when there may be more.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "net/socket.h"
#include "net/task.h"
#include "wire/frame.h"

namespace infinicache::net {

class FrameReader {
 public:
  // REQUIRES: read_ahead >= wire::kFrameHeaderBytes; `socket` outlives the reader.
  FrameReader(Socket& socket, std::size_t read_ahead);

  // From now on. REQUIRES: from one header to what the reader was made with.
  void set_read_ahead(std::size_t bytes);

  // Errors: kUnavailable (connection ended), kProtocol (not a frame; close the link).
  Task<Result<wire::FrameHeader>> ReadHeader();
  // Empty: it is not here yet.
  Result<std::optional<wire::FrameHeader>> TryHeader();

  // Reads the next bytes of the payload into `buffers`, exactly. The array is consumed.
  Task<Status> ReadPayload(std::span<iovec> buffers);
  Task<Status> ReadPayload(std::span<std::byte> buffer);
  // Whether all of `buffers` was read; they are advanced to what is left.
  Result<bool> TryPayload(std::span<iovec>& buffers);
  // Skips what is left of the payload.
  Task<Status> Discard();
  Result<bool> TryDiscard();

  Task<Status> WaitReadable();

  // Whether the next frame is here already: neither its header nor its payload will be waited for.
  // REQUIRES: payload_left() == 0.
  bool HasFrame() const;

  // Bytes of the current payload that are not consumed yet.
  std::size_t payload_left() const { return payload_left_; }
  // Bytes of them that were read ahead already: they are in this object, not in the socket.
  std::size_t buffered() const { return end_ - begin_; }
  // Tells that the caller took `bytes` of the payload from the socket itself. REQUIRES: buffered()
  // == 0.
  void ConsumedOutside(std::size_t bytes);

 private:
  Result<std::size_t> TryRead(std::span<const iovec> buffers);
  std::size_t ReadAhead() const;

  Socket& socket_;
  std::vector<std::byte> buffer_;
  std::size_t read_ahead_;
  std::size_t begin_ = 0;  // [begin_, end_) of buffer_ holds bytes read ahead
  std::size_t end_ = 0;
  std::size_t payload_left_ = 0;
  bool large_ = false;    // the last payload was larger than the read-ahead
  bool drained_ = false;  // the last read took all there was: no need to ask again before a wait
};

}  // namespace infinicache::net
