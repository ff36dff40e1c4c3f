// Any bytes as a page of an inventory, as an expiry list and as a chunk list: no crash, and what
// decodes encodes to the same bytes.
#include "wire/inventory.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"

namespace infinicache::wire {
namespace {

void FuzzPage(std::string_view data) {
  const auto entries = ParseInventoryPage(data);
  if (!entries) return;
  std::string encoded;
  for (const InventoryEntry& entry : *entries) {
    const std::size_t before = encoded.size();
    AppendInventoryEntry(entry, encoded);
    CHECK(encoded.size() - before == InventoryEntryBytes(entry.meta.key.size()));
  }
  CHECK(encoded == data);
}

void FuzzExpiryList(std::string_view data) {
  const auto list = ParseExpiryList(data);
  if (list) CHECK(EncodeExpiryList(*list) == data);
}

void FuzzChunkList(std::string_view data) {
  const auto chunks = ParseChunkList(data);
  if (chunks && chunks->size() <= kChunkListMax) CHECK(EncodeChunkList(*chunks) == data);
}

}  // namespace
}  // namespace infinicache::wire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  infinicache::wire::FuzzPage(bytes);
  infinicache::wire::FuzzExpiryList(bytes);
  infinicache::wire::FuzzChunkList(bytes);
  return 0;
}
