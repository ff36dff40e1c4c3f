// Events as server-sent events (WHATWG HTML, section 9.2), which browsers read with EventSource:
//
//   id: 17
//   event: instance_reclaimed
//   data: {"id":17,"at_ms":…}
//
// The data are those of EventsJson. A comment line comes when nothing else did for kHeartbeat, so
// that both ends notice when the other is gone. A client that comes back sends the last number that
// it saw as Last-Event-ID, and gets what follows.
//
// Thread-safety: the control loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "net/event_loop.h"
#include "net/http_server.h"
#include "net/task.h"
#include "pool/event_log.h"

namespace infinicache::admin {

// Whether the request is for a stream: Accept: text/event-stream, or ?stream=1.
bool WantsEventStream(const net::HttpRequest& request);

// The number after which the stream begins: of Last-Event-ID, else of ?after, else 0. A number
// above `last_id` is of a server before this one: 0. Errors: kInvalidArgument, naming which.
Result<std::uint64_t> StreamBegin(const net::HttpRequest& request, std::uint64_t last_id);

std::string EventFrames(std::span<const pool::Event> events);

// The streams of one server.
class EventStreams {
 public:
  static constexpr std::size_t kStreamsMax = 16;
  static constexpr Duration kPoll = std::chrono::milliseconds(50);
  static constexpr Duration kHeartbeat = std::chrono::seconds(15);
  // Events of one write.
  static constexpr std::size_t kPortion = 256;
  // What a browser waits before it comes back.
  static constexpr Duration kRetry = std::chrono::seconds(2);

  // REQUIRES: `log` and this object outlive the streams.
  EventStreams(net::EventLoop& control, const pool::EventLog& log, Duration heartbeat = kHeartbeat)
      : control_(control), log_(log), heartbeat_(heartbeat) {}

  // The right to one stream, until it is dropped; null if there are kStreamsMax.
  std::shared_ptr<const void> Claim();
  std::size_t open() const { return open_; }

  // Sends what comes after the event `after`, until the stream is closed.
  net::Task<> Run(net::HttpStream& stream, std::uint64_t after);

 private:
  net::EventLoop& control_;
  const pool::EventLog& log_;
  const Duration heartbeat_;
  std::size_t open_ = 0;
};

}  // namespace infinicache::admin
