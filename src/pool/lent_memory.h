// Memory that one node has lent to one event loop of this process: strips are put there without a
// copy, and chunks stored by a record in the same memory (wire/lending.h), without a message.
//
//   std::shared_ptr<LentRange> range = lent.Take(bytes);   // null: none at hand, more is asked for
//   … put a strip's bytes at range->data() …
//   if (!lent.Store(chunk, meta, location, ranges)) …      // send it over the link instead
//
// A node that is nearly full has no long ranges. What does not fit into one is put into several
// shorter ones (TakePieces).
//
// A stock is kept so that few writes find none: when it runs low the node is asked for more. What a
// node lends counts as used there, so nothing that is stored here can find it full. A node looks at
// its records before it does anything else, and is told to when it has not been for a while.
//
// It ends with the link's connection. The node then takes it all for in use, since somebody may be
// in the middle of a write; it gets it back when the next LentMemory of the link begins, for which
// the link waits until no strip of this one is held (Link::lent).
//
// Thread-safety: one event loop, that of the link. Used through shared_ptr, which strips hold too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/range_set.h"
#include "base/record_ring.h"
#include "base/shared_memory.h"
#include "net/notification.h"
#include "net/timer.h"
#include "pool/link.h"
#include "wire/lending.h"

namespace infinicache::pool {

class LentMemory;

// Memory for a strip, or a part of one. Goes back to the stock, but for what became part of a
// chunk.
class LentRange {
 public:
  // Use LentMemory::Take.
  LentRange(std::shared_ptr<LentMemory> memory, std::uint64_t offset, std::uint64_t bytes);
  LentRange(const LentRange&) = delete;
  LentRange& operator=(const LentRange&) = delete;
  ~LentRange();

  std::byte* data() const { return data_; }
  std::uint64_t offset() const { return offset_; }  // in the node's memory
  std::uint64_t bytes() const { return bytes_; }

  // The first `bytes` of it, which it is without from now on. REQUIRES: a multiple of
  // kStripBlockBytes, at most bytes().
  std::shared_ptr<LentRange> Split(std::uint64_t bytes);

 private:
  friend class LentMemory;

  std::shared_ptr<LentMemory> memory_;
  std::byte* data_;
  std::uint64_t offset_;
  std::uint64_t bytes_;  // from there on that are to be given back
};

class LentMemory final : public FrameSink, public std::enable_shared_from_this<LentMemory> {
 public:
  // The stocks of all loops, as a part of the node's limit, and one of them at most.
  static constexpr std::uint64_t kStockShare = 32;
  static constexpr std::uint64_t kStockBytesMax = 8 * kMiB;
  static constexpr std::uint64_t kStockBytesMin = 64 * kKiB;
  // How long a node may not have looked at its records.
  static constexpr Duration kReportAfter = std::chrono::milliseconds(50);
  // After that without a write the stock is given back: others may need it more.
  static constexpr Duration kIdleAfter = std::chrono::seconds(2);
  // A node that has had nothing to lend is not asked again for so long.
  static constexpr Duration kAskAgainAfter = std::chrono::milliseconds(2);

  static std::uint64_t StockBytes(const NodeShared& node);
  // Whether the node can lend a stock worth the name.
  static bool IsWorthwhile(const NodeShared& node) { return StockBytes(node) >= kStockBytesMin; }

  // REQUIRES: the link is connected, and ends this before it or its connection goes away (Close).
  LentMemory(net::EventLoop& loop, Link& link, std::shared_ptr<const SharedMemory> memory,
             LendAccount account);

  // Gives back what is at hand: the node is full for what comes over the link.
  void GiveStockBack();
  // Room was made on the node: it is worth asking again.
  void NoteRoom() { ask_after_ = {}; }
  // Has the node take back what it lent before, if only to a proxy that has crashed.
  void Begin() { Ask(0); }
  // For a chunk of `bytes` that takes its memory bit by bit: whether the node may lend as much,
  // along with what was promised before, until EndPromise.
  bool Promise(std::uint64_t bytes);
  void EndPromise(std::uint64_t bytes) { promised_bytes_ -= bytes; }
  // Memory for `bytes`, or null. The node is asked for multiples of `unit` or, if it is 0, of
  // `bytes`. REQUIRES: bytes > 0.
  std::shared_ptr<LentRange> Take(std::size_t bytes, std::size_t unit = 0);
  // Memory for `bytes` in several ranges, each a multiple of kStripBlockBytes but for the last;
  // none if there is not as much.
  std::vector<std::shared_ptr<LentRange>> TakePieces(std::size_t bytes);
  // `changed` is notified when the node has answered, or the connection has ended; once.
  void Await(net::Notification* changed) { waiters_.push_back(changed); }
  void StopAwaiting(net::Notification* changed) { std::erase(waiters_, changed); }
  // Whether more than is at hand may soon be.
  bool asking() const { return request_ != 0; }
  std::uint64_t free_bytes() const { return free_.bytes(); }
  // Whether the last answer had no range of the unit that was asked for.
  bool in_pieces() const { return in_pieces_; }

  // Stores a chunk whose bytes are in `ranges`, in order, one for each piece of `location`. It can
  // be read when this returns. False: not so, for want of room for the record, or since the
  // connection has ended.
  bool Store(const ChunkId& chunk, const wire::ChunkMeta& meta, const wire::ChunkLocation& location,
             std::span<const std::shared_ptr<LentRange>> ranges);

  // The connection has ended.
  void Close();

 private:
  friend class LentRange;

  bool open() const { return link_ != nullptr; }  // the connection has not ended
  std::shared_ptr<LentRange> Cut(std::uint64_t begin, std::uint64_t bytes);
  Target OnData(Link& link, const wire::FrameHeader& header) override;
  void OnFrame(Link& link, const wire::FrameHeader& header) override;
  void OnLinkLost(Link& link, std::uint64_t request) override;

  std::uint64_t stock_bytes() const { return StockBytes(link_->shared()); }
  bool IsLow() const;
  // Gives back what is of no use, and asks for more where `wanted` is not 0.
  void Ask(std::uint64_t wanted);
  std::vector<wire::MemoryRange> TakeUseless();
  void AskForMore();
  void GiveBack(std::uint64_t offset, std::uint64_t bytes);
  // Looks at what there is to tell the node, at `when` or before.
  void ReportAt(TimePoint when);
  void Report();
  void NotifyWaiters();

  Link* link_;
  std::shared_ptr<const SharedMemory> memory_;
  const LendAccount account_;
  const std::uint64_t loan_;
  RecordRing ring_;
  net::Timer report_;
  TimePoint report_at_ = TimePoint::max();
  TimePoint taken_at_{};  // the last range
  bool give_all_back_ = false;
  std::uint64_t request_ = 0;  // 0: nothing is asked
  bool ask_again_ = false;     // it ran low while something was asked
  std::uint64_t asked_bytes_ = 0;
  std::uint64_t asked_unit_ = 0;
  bool in_pieces_ = false;
  std::shared_ptr<std::string> answer_;
  TimePoint ask_after_{};
  RangeSet free_;
  std::uint64_t overhead_ = 0;    // lent for what chunks take beside their strips
  std::uint64_t lent_bytes_ = 0;  // in all that is no chunk's: free, in strips, and overhead
  std::uint64_t promised_bytes_ = 0;
  std::uint64_t taken_bytes_ = 0;  // of the last range, as it counts in memory
  std::uint64_t unit_bytes_ = 0;
  std::vector<net::Notification*> waiters_;
};

}  // namespace infinicache::pool
