#include "coding/stripe_layout.h"

#include "base/check.h"

namespace infinicache::coding {

StripeLayout StripeLayout::For(std::uint64_t object_bytes, Code code, std::uint32_t strip_bytes) {
  CHECK(IsValid(code), "code {}", code.ToString());
  CHECK(strip_bytes > 0 && strip_bytes % kStripAlignment == 0, "strip of {} bytes", strip_bytes);
  CHECK(object_bytes <= kObjectBytesMax, "object of {} bytes", object_bytes);
  return {.object_bytes = object_bytes, .strip_bytes = strip_bytes, .code = code};
}

}  // namespace infinicache::coding
