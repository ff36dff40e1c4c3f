// Any bytes, in any cut: the parser does not crash, keeps its promises to its caller (RequestReplay
// checks them) and gives the same events whatever the cut.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "wire/request_replay.h"

namespace infinicache::wire {
namespace {

// The first bytes choose limits and cuts, so that the fuzzer reaches them.
constexpr std::size_t kChoiceBytes = 4;

void Fuzz(std::string_view data) {
  if (data.size() < kChoiceBytes) return;
  const auto choice = [&](std::size_t i) { return static_cast<unsigned char>(data[i]); };
  const RespParser::Limits limits = {.buffered_argument_bytes_max = choice(0) % 64U,
                                     .bulk_bytes_max = 1 << 16,
                                     .arguments_max = 64,
                                     .buffered_command_bytes_max = 512,
                                     .authenticated = choice(1) % 8 != 0};
  const std::string_view stream = data.substr(kChoiceBytes);
  RequestReplay whole(limits);
  whole.Feed(stream);
  RequestReplay cut(limits);
  std::string_view rest = stream;
  for (std::size_t i = 0; !rest.empty(); ++i) {
    const std::size_t size = std::min<std::size_t>(1 + choice(2 + i % 2) % 16U, rest.size());
    cut.Feed(rest.substr(0, size));
    rest.remove_prefix(size);
    if (choice(1) % 3 == 0) cut.parser().ReleaseMemory();
  }
  CHECK(cut.error() == whole.error());
  CHECK(cut.commands() == whole.commands());
  CHECK(cut.payloads() == whole.payloads());
}

}  // namespace
}  // namespace infinicache::wire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinicache::wire::Fuzz({reinterpret_cast<const char*>(data), size});
  return 0;
}
