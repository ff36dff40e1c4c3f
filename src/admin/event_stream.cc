#include "admin/event_stream.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <string_view>
#include <vector>

#include "admin/json.h"
#include "admin/routes.h"

namespace infinicache::admin {

bool WantsEventStream(const net::HttpRequest& request) {
  const auto accept = request.headers.find("accept");
  if (accept != request.headers.end() &&
      accept->second.find("text/event-stream") != std::string::npos)
    return true;
  const auto stream = request.target.query.find("stream");
  return stream != request.target.query.end() && stream->second == "1";
}

Result<std::uint64_t> StreamBegin(const net::HttpRequest& request, std::uint64_t last_id) {
  const auto header = request.headers.find("last-event-id");
  const bool has_header = header != request.headers.end();
  const auto after = has_header
                         ? QueryNumber({{"Last-Event-ID", header->second}}, "Last-Event-ID", 0)
                         : QueryNumber(request.target.query, "after", 0);
  if (!after) return tl::make_unexpected(after.error());
  return *after > last_id ? 0 : *after;
}

std::string EventFrames(std::span<const pool::Event> events) {
  std::string frames;
  for (const pool::Event& event : events) {
    frames += fmt::format("id: {}\nevent: {}\ndata: {}\n\n", event.id,
                          pool::EventKindName(event.kind), EventJson(event));
  }
  return frames;
}

std::shared_ptr<const void> EventStreams::Claim() {
  if (open_ == kStreamsMax) return nullptr;
  ++open_;
  return {this, [](EventStreams* streams) { --streams->open_; }};
}

net::Task<> EventStreams::Run(net::HttpStream& stream, std::uint64_t after) {
  bool open =
      co_await stream.Write(fmt::format("retry: {}\n\n", kRetry / std::chrono::milliseconds(1)));
  TimePoint written = net::EventLoop::Now();
  while (open && stream.IsOpen()) {
    const bool silent = net::EventLoop::Now() - written >= heartbeat_;
    if (log_.last_id() == after && !silent) {
      co_await control_.Sleep(kPoll);
      continue;
    }
    const std::vector<pool::Event> events = log_.After(after, kPortion);
    // What was dropped meanwhile is passed over; its numbers are missing.
    after = events.empty() ? log_.last_id() : events.back().id;
    open = co_await stream.Write(events.empty() ? ": still here\n\n" : EventFrames(events));
    written = net::EventLoop::Now();
  }
}

}  // namespace infinicache::admin
