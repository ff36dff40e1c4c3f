// ParseCode: any text gives an error with a message, or a valid code that survives text and back.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "coding/code.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace infinicache::coding;
  const auto code = ParseCode({reinterpret_cast<const char*>(data), size});
  if (!code) {
    CHECK(!code.error().message.empty());
    return 0;
  }
  CHECK(IsValid(*code));
  CHECK(ParseCode(code->ToString()) == *code);
  return 0;
}
