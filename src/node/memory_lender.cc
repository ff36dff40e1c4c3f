#include "node/memory_lender.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace infinicache::node {

MemoryLender::MemoryLender(ChunkStore& store, std::function<void()> on_change)
    : store_(store), on_change_(std::move(on_change)) {}

void MemoryLender::Drain() {
  for (Account& account : accounts_) {
    if (account.ring && !account.ring->empty()) Drain(account);
  }
}

void MemoryLender::Drain(Account& account) {
  on_change_();
  for (;;) {
    const auto record = account.ring->Read();
    if (!record) {
      LOG_ERROR("the records of a proxy are unreadable: {}", record.error().message);
      account.ring->Clear();
      return;
    }
    if (!*record) return;
    Adopt(account, **record);
  }
}

void MemoryLender::Adopt(Account& account, const std::string& record) {
  auto stored = wire::ParseStoredChunk(record);
  if (!stored) {
    LOG_ERROR("a record of a proxy is no chunk: {}", stored.error().message);
    return;
  }
  // Strips that overlap are noticed when the second one is not there any more.
  std::vector<wire::MemoryRange> taken;
  Status status;
  for (const auto& piece : stored->location.pieces) {
    const wire::MemoryRange range{piece.offset, ChunkStore::CostOfStrip(piece.bytes)};
    if (!ExtentArena::IsAtBlock(range.offset) || !account.ranges.Has(range.offset, range.bytes)) {
      status = Fail(ErrorCode::kInvalidArgument, "its memory is not lent");
      break;
    }
    account.ranges.Remove(range.offset, range.bytes);
    taken.push_back(range);
  }
  // The borrower has let go of the overhead too, whatever becomes of the chunk.
  const std::uint64_t wanted = ChunkStore::OverheadOf(stored->meta);
  const std::uint64_t overhead = std::min(wanted, account.overhead);
  account.overhead -= overhead;
  if (status && wanted > overhead)
    status = Fail(ErrorCode::kInvalidArgument, "it takes more than was lent for it");
  if (status) status = store_.Adopt(std::move(*stored), overhead);
  if (status) return;
  store_.TakeBackOverhead(overhead);
  LOG_ERROR("a chunk that a proxy has stored is refused: {}", status.error().message);
  // The borrower takes it for a chunk's, and will not use it again.
  for (const wire::MemoryRange& range : taken) store_.TakeBack(range);
}

Result<MemoryLender::Lent> MemoryLender::Lend(const wire::LendRequest& request,
                                              std::span<const wire::MemoryRange> back) {
  if (store_.shared_memory() == nullptr)
    return Fail(ErrorCode::kUnavailable, "the memory of this node is not shared");
  if (auto opened = Open(request); !opened) return tl::make_unexpected(opened.error());
  Account& account = accounts_[request.account];
  for (const wire::MemoryRange& range : back) {
    if (!ExtentArena::IsAtBlock(range.offset) || range.bytes % ExtentArena::kBlockBytesMin != 0 ||
        !account.ranges.Has(range.offset, range.bytes))
      return Fail(ErrorCode::kInvalidArgument, "memory is given back that was not lent");
    account.ranges.Remove(range.offset, range.bytes);
    store_.TakeBack(range);
  }
  Lent lent;
  if (request.bytes == 0) return lent;
  const std::uint64_t overhead = wire::LendOverhead(store_.bytes_limit());
  if (account.overhead <= overhead / 2)
    lent.overhead = store_.LendOverhead(overhead - account.overhead);
  account.overhead += lent.overhead;
  const std::uint64_t limit = wire::LendBytesMax(store_.bytes_limit());
  if (const std::uint64_t bytes = account.ranges.bytes(); bytes < limit)
    store_.Lend(std::min(request.bytes, limit - bytes), request.unit, lent.ranges);
  for (const wire::MemoryRange& range : lent.ranges) account.ranges.Add(range.offset, range.bytes);
  return lent;
}

Status MemoryLender::Open(const wire::LendRequest& request) {
  CHECK(request.account < wire::kLendAccounts);
  if (request.owner != owner_) {
    if (std::find(former_owners_.begin(), former_owners_.end(), request.owner) !=
        former_owners_.end())
      return Fail(ErrorCode::kCancelled, "a loan of a former proxy");
    for (Account& account : accounts_) Close(account);
    if (former_owners_.size() == kOwnersMax) former_owners_.erase(former_owners_.begin());
    former_owners_.push_back(std::exchange(owner_, request.owner));
  }
  Account& account = accounts_[request.account];
  if (request.loan < account.loan)
    return Fail(ErrorCode::kCancelled, "a loan of a former connection");
  if (request.loan > account.loan) Close(account);
  account.loan = request.loan;
  if (!account.ring) {
    const SharedMemory& memory = *store_.shared_memory();
    account.ring.emplace(wire::LendRing({memory.data(), memory.bytes()}, request.account));
  }
  return {};
}

void MemoryLender::Close(Account& account) {
  if (account.ring) Drain(account);
  for (const auto& [begin, end] : account.ranges.ranges()) store_.TakeBack({begin, end - begin});
  store_.TakeBackOverhead(account.overhead);
  account = {};
}

std::uint64_t MemoryLender::lent_bytes() const {
  std::uint64_t bytes = 0;
  for (const Account& account : accounts_) bytes += account.ranges.bytes();
  return bytes;
}

}  // namespace infinicache::node
