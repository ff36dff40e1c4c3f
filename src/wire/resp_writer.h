// Writer of RESP replies, appended to a string that the caller owns and sends.
//
// One writer serves both protocol versions: where RESP2 has no such type, the reply is written as
// Redis does (a map as a flat array, a set as an array, null as "$-1", a boolean as 0 or 1, a
// double and a verbatim string as bulk). A handler says what it means and needs not know the
// protocol.
//
// Aggregates are headers only: Array(2) is followed by two replies. Nothing checks the count.
//
// Thread-safety: one user. Ownership: borrows `out`; cheap to make per reply. Cost: an append per
// reply, no allocation beyond the string's own growth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace infinicache::wire {

class RespWriter {
 public:
  // `protocol` is 2 or 3, what the client chose with HELLO.
  RespWriter(std::string& out, int protocol) : out_(out), resp3_(protocol >= 3) {}

  int protocol() const { return resp3_ ? 3 : 2; }

  // "+OK". A CR or LF in `text` becomes a blank, so that no text can break the stream.
  void Simple(std::string_view text);
  // "-ERR what": `text` begins with the error's prefix. CR and LF as in Simple().
  void Error(std::string_view text);
  // How often Error was called.
  std::uint64_t errors() const { return errors_; }
  void Integer(std::int64_t value);

  void Bulk(std::string_view bytes);
  // Only "$<length>\r\n": the caller sends `length` bytes and a CRLF behind it.
  void BulkHeader(std::uint64_t length);
  void Null();
  // Where the answer would have been an array (in RESP2 it differs from Null()).
  void NullArray();
  // RESP2: a bulk, written so that it reads back as the same double. "inf", "-inf", "nan".
  void Double(double value);
  void Boolean(bool value);
  // Text for people. REQUIRES: `format` is three characters, "txt" or "mkd".
  void Verbatim(std::string_view format, std::string_view text);

  void Array(std::size_t elements) { Header('*', elements); }
  // RESP2: an array of 2 * pairs.
  void Map(std::size_t pairs);
  void Set(std::size_t elements) { Header(resp3_ ? '~' : '*', elements); }
  // Out-of-band data (pub/sub). RESP2: an array.
  void Push(std::size_t elements) { Header(resp3_ ? '>' : '*', elements); }

 private:
  void Line(char type, std::string_view text);
  void Header(char type, std::uint64_t number);

  std::string& out_;
  bool resp3_;
  std::uint64_t errors_ = 0;
};

}  // namespace infinicache::wire
