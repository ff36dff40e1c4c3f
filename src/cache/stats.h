// What the cache counts. Added to from every loop, read by INFO and /metrics.
#pragma once

#include "base/histogram.h"
#include "cache/gone_log.h"

namespace infinicache::cache {

struct CacheStats {
  Counter hits{0};
  Counter misses_absent{0};       // the key does not exist, or has expired
  Counter misses_lost{0};         // fewer than d chunks survive
  Counter misses_unavailable{0};  // enough chunks survive, but too few nodes answered in time
  GoneCounters gone;              // objects that left other than by DEL or overwriting
  Counter objects_written{0};
  Counter writes_failed{0};
  Counter writes_degraded{0};  // committed with fewer than d+p chunks; repair follows
  Counter bytes_written{0};    // object bytes
  Counter bytes_read{0};
  Counter degraded_reads{
      0};  // reads that had to decode, or to read a replica other than the first choice
  Counter mapped_reads{0};   // out of nodes' memory, without a message
  Counter mapped_writes{0};  // chunks, into it
  Counter broken_reads{0};   // replies cut short because chunks were lost while they were sent
  Counter hedges{0};         // parity chunks asked because another was late
  Counter corrupt_strips{0};
  Counter chunks_repaired{0};
  Counter repairs_failed{0};  // attempts; each is tried again
  Counter repair_bytes{0};    // chunk bytes re-created
  // Of rebuilding the directory.
  Counter chunks_listed{0};  // by nodes' inventories
  Counter objects_rebuilt{0};
  Counter bytes_rebuilt{0};  // object bytes
  Counter chunks_kept{0};    // by instances that took over from the one that they were a copy of
  Counter orphans_freed{0};  // chunks that belong to no object
  Counter marks_unconfirmed{0};  // deletes that were answered without a late node's word
};

}  // namespace infinicache::cache
