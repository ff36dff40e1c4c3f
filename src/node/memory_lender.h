// Lends memory of the store to proxies of the same machine, which put chunks there by themselves
// and tell of them by records in the same memory (wire/lending.h): so a write needs no message, and
// wakes nobody.
//
//   lender.Drain();                        // before anything else is done with the store
//   lender.Lend(request, back);            // a proxy asks for memory
//
// What is lent to an account is its borrower's until it is a chunk's, or is given back. A link that
// ends changes nothing: its proxy may be in the middle of a write to what it has. Memory comes back
// when the account's next loan begins (nothing is held any more of the one before), or with another
// owner: the proxy's process is a new one, and the former one has ended. Requests of former loans
// and owners, which may still come out of an old connection, are refused.
//
// A record that names memory which its account does not have, or is no chunk, is dropped and
// logged: what it told of is found missing when it is read.
//
// Thread-safety: none; one event loop. Cost of Drain: a look at each account, when there is
// nothing.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/range_set.h"
#include "base/record_ring.h"
#include "node/chunk_store.h"
#include "wire/lending.h"

namespace infinicache::node {

class MemoryLender {
 public:
  static constexpr std::size_t kOwnersMax = 64;

  // `on_change`: the store is about to be changed. REQUIRES: `store` outlives the lender.
  MemoryLender(ChunkStore& store, std::function<void()> on_change);

  // Makes chunks of what the records tell.
  void Drain();
  struct Lent {
    std::vector<wire::MemoryRange> ranges;
    std::uint64_t overhead = 0;
  };
  // Takes `back`, and returns what is lent now. REQUIRES: Drain() was called. Errors: kUnavailable
  // (the store's memory is private), kCancelled (the loan is a former one), kInvalidArgument (what
  // is given back was not lent).
  Result<Lent> Lend(const wire::LendRequest& request, std::span<const wire::MemoryRange> back);

  std::uint64_t lent_bytes() const;  // without what is lent with it

 private:
  struct Account {
    RangeSet ranges;
    std::uint64_t overhead = 0;
    std::uint64_t loan = 0;
    std::optional<RecordRing> ring;
  };

  void Drain(Account& account);
  void Adopt(Account& account, const std::string& record);
  Status Open(const wire::LendRequest& request);
  void Close(Account& account);

  ChunkStore& store_;
  std::function<void()> on_change_;
  std::uint64_t owner_ = 0;
  std::vector<std::uint64_t> former_owners_;  // of the last ones, kOwnersMax
  std::array<Account, wire::kLendAccounts> accounts_;
};

}  // namespace infinicache::node
