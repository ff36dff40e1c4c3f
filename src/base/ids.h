// Strong identifiers: an index of a node cannot be passed where a version is meant.
//
// Plain values: copied freely, hashable, ordered. The raw number is reached with .value(), on the
// wire and in logs.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace infinicache {

template <typename Tag, typename Raw>
class StrongId {
 public:
  using Value = Raw;

  constexpr StrongId() = default;
  constexpr explicit StrongId(Raw value) : value_(value) {}
  constexpr Raw value() const { return value_; }
  friend constexpr auto operator<=>(StrongId, StrongId) = default;

 private:
  Raw value_ = 0;
};

// Place of a node in its pool, 0-based. It endures; the instances behind it come and go.
using NodeId = StrongId<struct NodeIdTag, std::uint32_t>;
// One living copy of a node's process, drawn at random at its start. 0 means "none".
using InstanceId = StrongId<struct InstanceIdTag, std::uint64_t>;
// One invocation of an instance. The proxy makes it, so that a message of an earlier session is
// told from one of this. 0 means "none".
using SessionId = StrongId<struct SessionIdTag, std::uint64_t>;
// One write of an object. Unique in the pool and increasing: a larger version is a later write.
using Version = StrongId<struct VersionTag, std::uint64_t>;
// Hash of an object's key. With the version it names one write of one object.
using ObjectId = StrongId<struct ObjectIdTag, std::uint64_t>;

// The identity of a chunk: which object, which write of it, which of its d+p parts.
struct ChunkId {
  ObjectId object;
  Version version;
  std::uint16_t index = 0;

  friend auto operator<=>(const ChunkId&, const ChunkId&) = default;
};

struct ChunkIdHash {
  std::size_t operator()(const ChunkId& id) const {
    // Versions are unique in a pool, so mixing the version with the index suffices (splitmix64's
    // finaliser).
    std::uint64_t x = id.version.value() + 0x9E3779B97F4A7C15ULL * (id.index + 1U);
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return static_cast<std::size_t>(x ^ (x >> 31));
  }
};

}  // namespace infinicache

template <typename Tag, typename Raw>
struct std::hash<infinicache::StrongId<Tag, Raw>> {
  std::size_t operator()(infinicache::StrongId<Tag, Raw> id) const {
    return std::hash<Raw>{}(id.value());
  }
};
