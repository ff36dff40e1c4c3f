// Reads an object where its chunks lie: in memory of nodes that is mapped here
// (pool/node_memory.h). The nodes are asked once where each chunk is (the record's ObjectMap), and
// not at all after that.
//
//   MappedReader reader(worker, record, offset, length);
//   if (co_await reader.Open()) {
//     while (reader.bytes_left() > 0) {
//       if (co_await reader.Next(pieces) == 0) break;
//       … send pieces …
//     }
//   }
//   … what is left, through an ObjectReader …
//
// Each strip is verified just before it is handed out, so that it is in the cache when it is sent.
// A data chunk whose memory is not mapped is decoded from others. Anything else that is not as it
// should be (a checksum, a place) ends the reading: it is the ObjectReader that finds out why,
// tells the nodes, and has it repaired.
//
// Takes no memory of the worker's budget, but for rows that are decoded. Thread-safety: one event
// loop, one coroutine.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/limits.h"
#include "base/shared_memory.h"
#include "cache/object.h"
#include "cache/row.h"
#include "cache/worker.h"

namespace infinicache::cache {

class MappedReader {
 public:
  // What is verified at once, about; small enough to be in the L2 cache still when it is sent.
  static constexpr std::size_t kBatchBytes = 256 * kKiB;

  // Reads [offset, offset + length). REQUIRES: that is in the object; the worker outlives the
  // reader.
  MappedReader(Worker& worker, ObjectRef record, std::uint64_t offset, std::uint64_t length);

  // Whether the object can be read so. Nodes that do not say soon where their chunks are do not
  // hold it up.
  net::Task<bool> Open();

  // Appends the next bytes to `pieces`; they are there until the next call, and as long as the
  // reader. Returns how many; 0: they cannot be read so. REQUIRES: Open() was true, bytes_left() >
  // 0.
  net::Task<std::size_t> Next(std::vector<iovec>& pieces);

  std::uint64_t bytes_left() const { return end_ - offset_; }
  // Whether anything had to be decoded, or another copy read than the first choice.
  bool degraded() const { return degraded_; }

 private:
  struct Mapped {
    std::shared_ptr<const SharedMemory> memory;
    const wire::ChunkLocation* location = nullptr;  // the record's; null: cannot be read here
  };

  std::size_t InOrder(std::size_t n) const;
  std::uint64_t ChunksToLocate();
  void TakeMap();
  bool IsMapped(std::size_t chunk) const { return sources_[chunk].location != nullptr; }
  std::span<const wire::ChunkLocation::Piece> PiecesOf(std::uint64_t row, std::size_t chunk) const;
  bool Verify(std::uint64_t row, std::size_t chunk);
  void Append(std::uint64_t row, std::size_t chunk, std::size_t skip, std::size_t bytes,
              std::vector<iovec>& pieces) const;
  std::size_t TakeStrip(std::uint64_t row, std::uint64_t end, std::vector<iovec>& pieces);
  bool MustDecode(std::uint64_t row) const;
  net::Task<bool> Decode(std::uint64_t row);
  bool VerifyAndReconstruct(std::uint64_t row, std::array<std::byte*, kCodeWidthMax> strips,
                            std::uint64_t present);
  std::byte* Source(std::uint64_t row, std::size_t chunk) const;

  Worker& worker_;
  ObjectRef record_;
  const std::uint64_t begin_;
  std::uint64_t offset_;
  std::uint64_t end_;
  std::array<Mapped, kCodeWidthMax> sources_;
  std::size_t copy_ = 0;          // which is read, of an object that is kept in copies
  std::shared_ptr<Row> decoded_;  // the row that is being handed out, where it had to be decoded
  std::uint64_t verified_ = 0;    // its strips that were read for that
  // The strip that was verified last; a batch may end within one.
  std::uint64_t verified_row_ = 0;
  std::size_t verified_chunk_ = kCodeWidthMax;
  bool degraded_ = false;
};

}  // namespace infinicache::cache
