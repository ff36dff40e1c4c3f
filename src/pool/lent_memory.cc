#include "pool/lent_memory.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"

namespace infinicache::pool {
namespace {

// So many ranges that are too short for a strip are kept, for other strips.
constexpr std::size_t kShortRangesMax = 8;
// By which a node knows what belongs together of what it has lent.
std::uint64_t NextLoan() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

std::uint64_t CostOf(std::uint64_t bytes) {
  return RoundUp(bytes, kStripBlockBytes);
}

}  // namespace

LentRange::LentRange(std::shared_ptr<LentMemory> memory, std::uint64_t offset, std::uint64_t bytes)
    : memory_(std::move(memory)),
      data_(memory_->memory_->data() + offset),
      offset_(offset),
      bytes_(bytes) {}

LentRange::~LentRange() {
  if (bytes_ > 0) memory_->GiveBack(offset_, bytes_);
}

std::shared_ptr<LentRange> LentRange::Split(std::uint64_t bytes) {
  auto first = std::make_shared<LentRange>(memory_, offset_, bytes);
  data_ += bytes;
  offset_ += bytes;
  bytes_ -= bytes;
  return first;
}

LentMemory::LentMemory(net::EventLoop& loop, Link& link, std::shared_ptr<const SharedMemory> memory,
                       LendAccount account)
    : link_(&link),
      memory_(std::move(memory)),
      account_(account),
      loan_(NextLoan()),
      ring_(wire::LendRing({memory_->data(), memory_->bytes()}, account.number)),
      report_(loop) {}

std::uint64_t LentMemory::StockBytes(const NodeShared& node) {
  const std::uint64_t limit = node.bytes_limit.load(std::memory_order_relaxed);
  const std::uint64_t loops = std::max(1U, node.borrowers.load(std::memory_order_relaxed));
  return std::min(limit / kStockShare / loops, kStockBytesMax);
}

bool LentMemory::IsLow() const {
  const std::uint64_t limit = link_->shared().bytes_limit.load(std::memory_order_relaxed);
  return free_.bytes() < std::max(stock_bytes() / 2, taken_bytes_) ||
         overhead_ <= wire::LendOverhead(limit) / 2;
}

bool LentMemory::Promise(std::uint64_t bytes) {
  if (!open()) return false;
  const std::uint64_t limit = link_->shared().bytes_limit.load(std::memory_order_relaxed);
  if (promised_bytes_ + bytes > wire::LendBytesMax(limit)) return false;
  promised_bytes_ += bytes;
  return true;
}

std::shared_ptr<LentRange> LentMemory::Take(std::size_t bytes, std::size_t unit) {
  if (!open()) return nullptr;
  taken_at_ = net::EventLoop::Now();
  taken_bytes_ = CostOf(bytes);
  unit_bytes_ = unit > 0 ? CostOf(unit) : taken_bytes_;
  const auto& ranges = free_.ranges();
  const auto found = std::find_if(ranges.begin(), ranges.end(), [this](const auto& range) {
    return range.second - range.first >= taken_bytes_;
  });
  auto taken = found != ranges.end() ? Cut(found->first, taken_bytes_) : nullptr;
  if (IsLow()) AskForMore();
  return taken;
}

std::vector<std::shared_ptr<LentRange>> LentMemory::TakePieces(std::size_t bytes) {
  std::vector<std::shared_ptr<LentRange>> pieces;
  std::uint64_t left = CostOf(bytes);
  if (!open() || free_.bytes() < left) return pieces;
  std::vector<wire::MemoryRange> longest_first;  // for few pieces
  for (const auto& [begin, end] : free_.ranges()) longest_first.push_back({begin, end - begin});
  std::sort(longest_first.begin(), longest_first.end(),
            [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  for (auto range = longest_first.begin(); left > 0; ++range) {
    const std::uint64_t taken = std::min(left, range->bytes);
    pieces.push_back(Cut(range->offset, taken));
    left -= taken;
  }
  return pieces;
}

std::shared_ptr<LentRange> LentMemory::Cut(std::uint64_t begin, std::uint64_t bytes) {
  free_.Remove(begin, bytes);
  return std::make_shared<LentRange>(shared_from_this(), begin, bytes);
}

bool LentMemory::Store(const ChunkId& chunk, const wire::ChunkMeta& meta,
                       const wire::ChunkLocation& location,
                       std::span<const std::shared_ptr<LentRange>> ranges) {
  CHECK(ranges.size() == location.pieces.size());
  const std::uint64_t overhead = kChunkOverheadBytes + meta.key.size();
  if (!open() || !link_->connected() || overhead > overhead_) return false;
  const std::string record = wire::EncodeStoredChunk(chunk, meta, location);
  if (record.size() > ring_.record_bytes_max()) return false;
  if (!ring_.Write(record)) {
    Ask(0);
    return false;
  }
  std::uint64_t stored = overhead;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const std::uint64_t bytes = CostOf(location.pieces[i].bytes);
    ranges[i]->offset_ += bytes;
    ranges[i]->bytes_ -= bytes;
    stored += bytes;
  }
  overhead_ -= overhead;
  lent_bytes_ -= stored;
  NodeShared& shared = link_->shared();
  shared.bytes_lent.fetch_sub(stored, std::memory_order_relaxed);
  shared.bytes_stored.fetch_add(stored, std::memory_order_relaxed);
  shared.chunks.fetch_add(1, std::memory_order_relaxed);
  shared.changes.fetch_add(1, std::memory_order_relaxed);
  ReportAt(net::EventLoop::Now() + kReportAfter);
  return true;
}

void LentMemory::GiveStockBack() {
  if (free_.bytes() == 0) return;
  give_all_back_ = true;
  Ask(0);
}

void LentMemory::ReportAt(TimePoint when) {
  if (when >= report_at_) return;
  report_at_ = when;
  report_.Start(std::max(Duration(0), when - net::EventLoop::Now()), [this] { Report(); });
}

void LentMemory::Report() {
  report_at_ = TimePoint::max();
  const TimePoint now = net::EventLoop::Now();
  if (now - taken_at_ >= kIdleAfter) give_all_back_ = free_.bytes() > 0;
  if (!ring_.empty() || free_.bytes() > 2 * stock_bytes() || give_all_back_) {
    // Under way already: the node may have answered it before what there is to tell now.
    if (request_ != 0) return ReportAt(now + kReportAfter);
    Ask(0);
  }
  if (free_.bytes() > 0) ReportAt(std::max(taken_at_ + kIdleAfter, now + kReportAfter));
}

// What others have reserved is left to them, but for what is needed now.
void LentMemory::AskForMore() {
  ask_again_ = request_ != 0;
  if (ask_again_ || net::EventLoop::Now() < ask_after_) return;
  const std::uint64_t needed = free_.bytes() < taken_bytes_ ? taken_bytes_ : 0;
  const std::uint64_t wanted =
      std::clamp(link_->shared().FreeBytes(), needed, std::max(needed, stock_bytes() / 2));
  if (wanted > 0) Ask(wanted);
}

void LentMemory::Ask(std::uint64_t wanted) {
  if (request_ != 0 || !link_->connected()) return;
  const std::vector<wire::MemoryRange> back = TakeUseless();
  std::uint64_t back_bytes = 0;
  for (const wire::MemoryRange& range : back) back_bytes += range.bytes;
  lent_bytes_ -= back_bytes;
  link_->shared().bytes_lent.fetch_sub(back_bytes, std::memory_order_relaxed);
  request_ = link_->Register(this);
  asked_bytes_ = wanted;
  asked_unit_ = unit_bytes_;
  link_->Send(wire::EncodeLend(request_, {.owner = account_.owner,
                                          .account = account_.number,
                                          .loan = loan_,
                                          .bytes = wanted,
                                          .unit = unit_bytes_}),
              wire::EncodeMemoryRanges(back));
}

// Ranges that are too short for a strip, unless the node has no others; and what was lent for a
// write that was given up.
std::vector<wire::MemoryRange> LentMemory::TakeUseless() {
  std::vector<wire::MemoryRange> useless;
  const bool all = std::exchange(give_all_back_, false);
  const bool crowded = !in_pieces_ && free_.ranges().size() > kShortRangesMax;
  std::uint64_t free_left = free_.bytes();
  for (const auto& [begin, end] : free_.ranges()) {
    const std::uint64_t bytes = end - begin;
    const bool surplus = free_left >= bytes + stock_bytes() && free_left > 2 * stock_bytes();
    if ((all || surplus || (crowded && bytes < taken_bytes_)) &&
        useless.size() < wire::kMemoryRangesMax) {
      useless.push_back({begin, bytes});
      free_left -= bytes;
    }
  }
  for (const wire::MemoryRange& range : useless) free_.Remove(range.offset, range.bytes);
  return useless;
}

void LentMemory::GiveBack(std::uint64_t offset, std::uint64_t bytes) {
  if (!open()) return;  // the node has it back when the link begins anew
  free_.Add(offset, bytes);
  const bool surplus = free_.bytes() > 2 * stock_bytes();
  ReportAt(net::EventLoop::Now() + (surplus ? kReportAfter : kIdleAfter));
}

FrameSink::Target LentMemory::OnData(Link&, const wire::FrameHeader& header) {
  answer_ = std::make_shared<std::string>(header.payload_bytes, '\0');
  return {Target::Kind::kMemory, reinterpret_cast<std::byte*>(answer_->data()), answer_};
}

void LentMemory::OnFrame(Link& link, const wire::FrameHeader& header) {
  link.Forget(std::exchange(request_, 0));
  const auto answer = std::exchange(answer_, nullptr);
  std::vector<wire::MemoryRange> ranges;
  if (header.type == wire::FrameType::kLent && answer != nullptr) {
    auto parsed = wire::ParseMemoryRanges(*answer);
    if (parsed) ranges = std::move(*parsed);
  } else {
    LOG_WARN_EVERY(std::chrono::minutes(1), "node {} lends no memory: {}", link.node().value(),
                   ErrorCodeName(header.status.value_or(ErrorCode::kProtocol)));
  }
  if (!ranges.empty()) in_pieces_ = ranges.front().bytes < asked_unit_;
  std::uint64_t lent = answer != nullptr ? header.chunk.version.value() : 0;
  overhead_ += lent;
  for (const wire::MemoryRange& range : ranges) {
    if (range.offset + range.bytes > memory_->bytes()) continue;
    free_.Add(range.offset, range.bytes);
    lent += range.bytes;
  }
  lent_bytes_ += lent;
  link.shared().bytes_lent.fetch_add(lent, std::memory_order_relaxed);
  if (asked_bytes_ > 0 && ranges.empty()) ask_after_ = net::EventLoop::Now() + kAskAgainAfter;
  if (free_.bytes() > 0) ReportAt(net::EventLoop::Now() + kIdleAfter);
  if (std::exchange(ask_again_, false) && IsLow()) AskForMore();
  NotifyWaiters();
}

void LentMemory::OnLinkLost(Link&, std::uint64_t) {
  request_ = 0;
}

void LentMemory::NotifyWaiters() {
  for (net::Notification* waiter : std::exchange(waiters_, {})) waiter->Notify();
}

void LentMemory::Close() {
  if (!open()) return;
  if (request_ != 0) link_->Forget(std::exchange(request_, 0));
  report_.Cancel();
  link_->shared().bytes_lent.fetch_sub(lent_bytes_, std::memory_order_relaxed);
  link_ = nullptr;
  NotifyWaiters();
}

}  // namespace infinicache::pool
