// One blocking connection of the load client, speaking RESP or the memcached text protocol.
//
// All requests, and the exact framing of every good reply, are made in advance: an operation is one
// system call to send, the calls to receive, and one comparison of the reply's first bytes. Thus
// the client costs what the kernel's copies cost, and what is measured is the server.
//
// Thread-safety: one thread per connection. Ownership: the connection owns its socket; the buffers
// belong to the caller and outlive it. Errors: an unexpected reply, a time-out (60 s) or a broken
// connection is returned as kProtocol or kUnavailable; afterwards the stream is at an unknown
// position and the caller must Connect again.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace infinicache::bench {

enum class Protocol : std::uint8_t { kResp, kMemcached };

// Requests for, and good replies about, one key with a value of fixed size.
struct KeyFrames {
  std::string get_request;
  std::string get_reply_head;  // what stands before the value
  std::string set_request_head;
};

// What is the same for every key.
struct CommonFrames {
  std::string_view get_reply_tail;
  std::string_view set_request_tail;
  std::string_view set_reply;
};

KeyFrames MakeKeyFrames(Protocol protocol, std::string_view key, std::size_t value_bytes);
CommonFrames MakeCommonFrames(Protocol protocol);

class LoadConnection {
 public:
  // Room that Get needs in its buffer beyond the value, for the reply's framing.
  static constexpr std::size_t kFramingRoom = 1024;

  LoadConnection(std::string address, std::uint16_t port, CommonFrames frames)
      : address_(std::move(address)), port_(port), frames_(frames) {}
  ~LoadConnection() { Close(); }
  LoadConnection(const LoadConnection&) = delete;
  LoadConnection& operator=(const LoadConnection&) = delete;

  // Opens the connection; a previous one is closed first.
  Status Connect();

  // Reads the value into `buffer` and returns where in `buffer` it begins.
  // REQUIRES: `buffer` has value_bytes + kFramingRoom bytes.
  Result<const std::byte*> Get(const KeyFrames& key, std::size_t value_bytes, std::byte* buffer);

  Status Set(const KeyFrames& key, const std::byte* value, std::size_t value_bytes);

 private:
  Status SendAll(iovec* parts, int count);
  Result<std::size_t> ReceiveSome(std::byte* to, std::size_t most);
  // Receives until `have` bytes of `buffer` hold a line; returns the new `have`.
  Result<std::size_t> ReceiveLine(std::byte* buffer, std::size_t room);
  void Close();

  const std::string address_;
  const std::uint16_t port_;
  const CommonFrames frames_;
  int fd_ = -1;
};

}  // namespace infinicache::bench
