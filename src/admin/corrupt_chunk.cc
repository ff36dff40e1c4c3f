#include "admin/corrupt_chunk.h"

#include <fmt/format.h>

#include <optional>

#include "admin/routes.h"
#include "net/notification.h"
#include "pool/link.h"
#include "wire/frame.h"

namespace infinicache::admin {
namespace {

// Takes the one answer to a request.
class Answer final : public pool::FrameSink {
 public:
  explicit Answer(net::EventLoop& loop) : arrived_(loop) {}

  Target OnData(pool::Link& /*link*/, const wire::FrameHeader& /*header*/) override { return {}; }
  void OnFrame(pool::Link& /*link*/, const wire::FrameHeader& header) override {
    status_.emplace();
    if (header.type != wire::FrameType::kPong) {
      *status_ = Fail(header.status.value_or(ErrorCode::kProtocol),
                      "the node has no such chunk or byte, or runs without test hooks");
    }
    arrived_.Notify();
  }
  void OnLinkLost(pool::Link& /*link*/, std::uint64_t /*request*/) override {
    status_ = Fail(ErrorCode::kUnavailable, "the link to the node broke");
    arrived_.Notify();
  }

  net::Task<std::optional<Status>> Wait(TimePoint deadline) {
    while (!status_) {
      const bool notified = co_await arrived_.Wait(deadline);
      if (!notified) break;
    }
    co_return status_;
  }

 private:
  net::Notification arrived_;
  std::optional<Status> status_;
};

}  // namespace

Result<CorruptRequest> ParseCorruptRequest(const std::map<std::string, std::string>& query) {
  CorruptRequest request;
  const auto key = query.find("key");
  if (key == query.end()) {
    return Fail(ErrorCode::kInvalidArgument,
                "'key' is missing; write for example ?key=photo&chunk=0&byte=0");
  }
  request.key = key->second;
  const auto chunk = QueryNumber(query, "chunk", 0);
  if (!chunk) return tl::make_unexpected(chunk.error());
  const auto byte = QueryNumber(query, "byte", 0);
  if (!byte) return tl::make_unexpected(byte.error());
  request.chunk = *chunk;
  request.byte = *byte;
  return request;
}

net::Task<Status> FlipBitOnNode(cache::Worker& worker, pool::Place place, ChunkId chunk,
                                std::uint64_t byte, TimePoint deadline) {
  pool::Link* link = worker.LinkTo(place);
  if (link == nullptr) co_return Fail(ErrorCode::kUnavailable, "no link to the chunk's node");
  Answer answer(worker.loop());
  wire::FrameHeader header;
  header.type = wire::FrameType::kCorruptForTest;
  header.request = link->Register(&answer);
  header.chunk = chunk;
  header.offset = byte;
  link->Send(header);
  const auto status = co_await answer.Wait(deadline);
  link->Forget(header.request);
  if (!status) co_return Fail(ErrorCode::kDeadlineExceeded, "the node did not answer in time");
  co_return *status;
}

}  // namespace infinicache::admin
