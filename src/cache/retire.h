// Sees to it that a version does not come back: its nodes note a mark (wire/inventory.h) that a
// rebuilt directory goes by, before the client is answered.
//
//   co_await Retire(worker, {&object, 1}, wire::kDeletedMark);   // then it may leave the directory
//
// p+1 of the object's chunks are marked, so that a mark survives the loss of any p nodes. A rebuilt
// directory takes one mark for the whole version, and a deleted version hides all older ones.
//
// Waits until these nodes have answered. One that does not for kMarkAnswerAtMost is suspect from
// then on, and not waited for: the marks that it lacks count in CacheStats::marks_unconfirmed. A
// node that ended is no matter, as its chunks ended with it.
//
// Cost: a small message to p+1 nodes and back for each object, one message per node for up to 2048
// objects. Thread-safety: one event loop, the worker's.
#pragma once

#include <chrono>
#include <span>

#include "base/clock.h"
#include "cache/object.h"
#include "cache/worker.h"
#include "net/task.h"

namespace infinicache::cache {

inline constexpr Duration kMarkAnswerAtMost = std::chrono::seconds(1);

// REQUIRES: `objects` live until this returns.
net::Task<> Retire(Worker& worker, std::span<const ObjectRef> objects, WallMillis mark);

}  // namespace infinicache::cache
