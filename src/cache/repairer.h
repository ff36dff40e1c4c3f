// Re-creates lost chunks from the surviving ones, in the background, one object at a time.
//
// Several may run, on one loop or on different ones. They share the queue and its bandwidth limit.
//
// An object with fewer than d surviving chunks is lost: it leaves the directory and is counted.
// Thread-safety: one event loop.
#pragma once

#include "cache/chunk_upload.h"
#include "cache/object.h"
#include "cache/object_reader.h"
#include "cache/worker.h"
#include "net/notification.h"

namespace infinicache::cache {

class Repairer {
 public:
  explicit Repairer(Worker& worker) : worker_(worker), wake_(worker.loop()) {}

  // Repairs what the queue gives, until Stop.
  net::Task<> Run();
  // Something was queued. On the loop.
  void Wake() { wake_.Notify(); }
  void Stop();
  net::EventLoop& loop() { return worker_.loop(); }

 private:
  // Returns false if the object still lacks chunks and should be tried again.
  net::Task<bool> Repair(const ObjectRef& object);
  net::Task<Result<ObjectReader::RowBytes>> NextRow(ObjectReader& reader, TimePoint deadline,
                                                    std::uint64_t wanted);
  net::Task<Duration> Throttle(std::uint64_t bytes);
  bool GiveUp(ChunkUpload& upload, TimePoint& moved_at, TimePoint deadline);
  net::Task<Status> Recreate(const ObjectRef& object, std::span<const std::size_t> chunks,
                             std::span<const NodeId> nodes);

  Worker& worker_;
  net::Notification wake_;
  bool stopping_ = false;
};

}  // namespace infinicache::cache
