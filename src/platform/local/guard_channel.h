// What a server and the guard of its nodes say to each other: datagrams of JSON over a Unix socket
// that keeps their bounds (SOCK_SEQPACKET), with file descriptors beside them. The server asks, the
// guard answers each request once, in order:
//
//   begin     {secret, shape, survival_us, name} + standard error   {named}
//   start     {arguments} + what it inherits   {pid} + its standard input and output; or {error}
//   describe  {pid, text}                  {}
//   reap      {pid}                        {end}, or {} while it lives
//   stop      the server stops, and is not to be outlived: {}
//   end       the guard kills what it has, and ends: no answer
//
// and from a server that found the guard by its name, before `begin`:
//
//   take      {secret, shape, survivors}, or {busy} while another server lives
//   next      {pid, text} + its standard input and output, and what it inherited: one survivor
//             after the other, then {}
//
// Thread-safety: as a socket.
#pragma once

#include <sys/types.h>

#include <array>
#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace infinicache::platform {

inline constexpr std::size_t kGuardMessageBytesMax = 64 * 1024;
inline constexpr std::size_t kGuardDescriptorsMax = 3;

struct GuardMessage {
  boost::json::object body;
  std::vector<UniqueFd> descriptors;

  // An empty text, or 0, if there is no such member of that type.
  std::string Text(std::string_view name) const;
  std::int64_t Number(std::string_view name) const;
};

// Does not wait for room. Errors: kUnavailable (the peer has ended, or does not read).
Status SendToPeer(int socket, const boost::json::object& body,
                  std::span<const int> descriptors = {});
// Waits for a message, `patience` at most. Errors: kUnavailable (the peer has ended),
// kDeadlineExceeded, kProtocol (no JSON object).
Result<GuardMessage> ReceiveFromPeer(int socket, Duration patience);

// A guard listens in the abstract namespace of Unix sockets: there is no file that could be left
// over or that others could replace, and the kernel frees the name with the guard.
// Errors: kUnavailable (the name is taken, or nobody listens).
Result<UniqueFd> ListenAsGuard(const std::string& name);
Result<UniqueFd> ConnectToGuard(const std::string& name);

struct PeerProcess {
  pid_t pid = -1;
  bool same_user = false;
};
// Who made, or connected, the other end.
PeerProcess PeerOf(int socket);

}  // namespace infinicache::platform
