#include "cache/inventory_merge.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "cache/directory.h"
#include "cache/object.h"

namespace infinicache::cache {
namespace {

using coding::StripeLayout;

bool HasLayout(const wire::ChunkMeta& meta) {
  return coding::IsValid({meta.data, meta.parity}) &&
         meta.object_bytes <= StripeLayout::kObjectBytesMax && meta.strip_bytes > 0 &&
         meta.strip_bytes % kStripAlignment == 0;
}

StripeLayout LayoutOf(const wire::ChunkMeta& meta) {
  return StripeLayout::For(meta.object_bytes, {meta.data, meta.parity}, meta.strip_bytes);
}

// Whether the entry can be what it says: its key, and a chunk of such an object.
bool IsSound(const wire::InventoryEntry& entry) {
  const wire::ChunkMeta& meta = entry.meta;
  if (!HasLayout(meta) || HashKey(meta.key) != entry.chunk.object) return false;
  const StripeLayout layout = LayoutOf(meta);
  return entry.chunk.index < layout.code.width() &&
         meta.chunk_bytes == layout.ChunkBytes(entry.chunk.index);
}

// The part of `chunks` from its start on that has equal `of`.
template <typename Chunks, typename Of>
std::size_t RunLength(const Chunks& chunks, Of of) {
  std::size_t length = 1;
  while (length < chunks.size() && of(chunks[length]) == of(chunks[0])) ++length;
  return length;
}

}  // namespace

InventoryMerge::InventoryMerge(std::vector<pool::Place> sources, std::size_t nodes_lost,
                               std::size_t parity_min)
    : nodes_lost_(nodes_lost), parity_min_(parity_min) {
  for (const pool::Place place : sources) sources_.emplace_back().place = place;
}

void InventoryMerge::AddPage(std::size_t source, std::vector<wire::InventoryEntry> entries,
                             ObjectId listed, bool end) {
  Source& from = sources_[source];
  CHECK(!from.ended);
  from.listed = listed;
  from.pages.push_back(entries.size());
  std::move(entries.begin(), entries.end(), std::back_inserter(from.entries));
  from.ended = end;
}

void InventoryMerge::GiveUp(std::size_t source) {
  sources_[source].ended = true;
  sources_[source].counted = true;
  ++nodes_lost_;
}

void InventoryMerge::Drop(std::size_t source) {
  sources_[source].entries.clear();
  sources_[source].pages.clear();
  if (std::exchange(sources_[source].ended, true)) return;
  sources_[source].counted = true;
  ++nodes_lost_;
}

bool InventoryMerge::MayAsk(std::size_t source) const {
  const Source& from = sources_[source];
  if (from.ended) return false;
  // The slowest always goes on, however many pages one object takes.
  return from.pages.size() < kPagesAhead || from.listed == settled_below();
}

bool InventoryMerge::done() const {
  return std::all_of(sources_.begin(), sources_.end(),
                     [](const Source& source) { return source.ended; });
}

ObjectId InventoryMerge::settled_below() const {
  ObjectId below(~std::uint64_t{0});
  for (const Source& source : sources_)
    if (!source.ended) below = std::min(below, source.listed);
  return below;
}

std::vector<InventoryMerge::Chunk> InventoryMerge::TakeEntries() {
  const bool all = done();
  const ObjectId below = settled_below();
  std::vector<Chunk> chunks;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    Source& source = sources_[i];
    std::size_t taken = 0;
    while (!source.entries.empty() && (all || source.entries.front().chunk.object < below)) {
      chunks.push_back({source.place, i, std::move(source.entries.front())});
      source.entries.pop_front();
      ++taken;
    }
    while (!source.pages.empty() && source.pages.front() <= taken) {
      taken -= source.pages.front();
      source.pages.pop_front();
    }
    if (!source.pages.empty()) source.pages.front() -= taken;
  }
  return chunks;
}

InventoryMerge::Settled InventoryMerge::TakeSettled(WallMillis now) {
  Settled settled;
  std::vector<Chunk> chunks = TakeEntries();
  const auto unsound = std::partition(chunks.begin(), chunks.end(),
                                      [](const Chunk& chunk) { return IsSound(chunk.entry); });
  for (auto chunk = unsound; chunk != chunks.end(); ++chunk)
    settled.orphans.push_back({chunk->place, chunk->entry.chunk});
  chunks.erase(unsound, chunks.end());
  // Keys of one hash apart; of a key the newest version first.
  std::sort(chunks.begin(), chunks.end(), [](const Chunk& a, const Chunk& b) {
    return std::tie(a.entry.chunk.object, a.entry.meta.key, b.entry.chunk.version,
                    a.entry.chunk.index, a.place.node) <
           std::tie(b.entry.chunk.object, b.entry.meta.key, a.entry.chunk.version,
                    b.entry.chunk.index, b.place.node);
  });
  for (std::span<const Chunk> rest = chunks; !rest.empty();) {
    const std::size_t of_key = RunLength(
        rest, [](const Chunk& chunk) -> const std::string& { return chunk.entry.meta.key; });
    SettleKey(rest.first(of_key), now, settled);
    rest = rest.subspan(of_key);
  }
  return settled;
}

void InventoryMerge::SettleKey(std::span<const Chunk> chunks, WallMillis now, Settled& out) const {
  bool decided = false;
  while (!chunks.empty()) {
    const std::size_t of_version =
        RunLength(chunks, [](const Chunk& chunk) { return chunk.entry.chunk.version; });
    const auto version = chunks.first(of_version);
    chunks = chunks.subspan(of_version);
    if (!decided) {
      decided = SettleVersion(version, now, out);
      continue;
    }
    for (const Chunk& chunk : version) out.orphans.push_back({chunk.place, chunk.entry.chunk});
  }
}

bool InventoryMerge::SettleVersion(std::span<const Chunk> chunks, WallMillis now,
                                   Settled& out) const {
  const wire::InventoryEntry& first = chunks.front().entry;
  Found found{first.meta.key, first.chunk.object, first.chunk.version, LayoutOf(first.meta), 0, {}};
  found.places.resize(found.layout.code.width());
  std::vector<Orphan> others;  // a chunk that is there twice
  std::size_t distinct = 0;
  std::size_t certain = 0;  // of these: where a newer version would show
  bool deleted = false;
  bool never_was = false;
  for (const Chunk& chunk : chunks) {
    const WallMillis expires_at = chunk.entry.meta.expires_at_ms;
    deleted |= expires_at == wire::kDeletedMark;
    never_was |= expires_at == wire::kVoidMark;
    if (expires_at > 0 && (found.expires_at == 0 || expires_at < found.expires_at))
      found.expires_at = expires_at;
    const bool fits = LayoutOf(chunk.entry.meta) == found.layout;
    if (fits && found.places[chunk.entry.chunk.index].IsNowhere()) {
      found.places[chunk.entry.chunk.index] = chunk.place;
      ++distinct;
      if (sources_[chunk.source].since != Version()) ++certain;
    } else {
      others.push_back({chunk.place, chunk.entry.chunk});
    }
  }
  const std::size_t needed = found.layout.code.data;
  const bool expired = found.expires_at != 0 && found.expires_at <= now;
  const Unreadable unreadable{found.key, found.layout.object_bytes};
  if (!deleted && !never_was && certain >= needed && !expired) {
    out.orphans.insert(out.orphans.end(), others.begin(), others.end());
    out.found.push_back(std::move(found));
    return true;
  }
  for (const Chunk& chunk : chunks) out.orphans.push_back({chunk.place, chunk.entry.chunk});
  if (deleted) return true;
  if (never_was) return false;
  if (distinct >= needed && expired) {
    out.expired.push_back(unreadable);
    return true;
  }
  const std::size_t to_commit = ChunksToCommit(found.layout.code, parity_min_);
  const bool may_have_been_answered =
      distinct >= needed || distinct + MayHaveLost(chunks) >= to_commit;
  (may_have_been_answered ? out.reclaimed : out.torn).push_back(unreadable);
  return may_have_been_answered;
}

std::size_t InventoryMerge::MayHaveLost(std::span<const Chunk> chunks) const {
  const Version version = chunks.front().entry.chunk.version;
  std::size_t nodes = nodes_lost_;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const Source& source = sources_[i];
    const bool is_younger = source.since == Version() || source.since >= version;
    const auto is_its = [i](const Chunk& chunk) { return chunk.source == i; };
    if (is_younger && !source.counted && std::none_of(chunks.begin(), chunks.end(), is_its))
      ++nodes;
  }
  return nodes;
}

}  // namespace infinicache::cache
