// Any pattern on any text: no crash, no read out of bounds, and what follows from the definition:
// folding never loses a match of a pattern without classes, a star in front or behind never does,
// and every text matches its own escape.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "wire/glob.h"

namespace infinicache::wire {
namespace {

// The first byte says how much of the rest is the pattern.
void Fuzz(std::string_view data) {
  if (data.empty()) return;
  const auto choice = static_cast<unsigned char>(data.front());
  data.remove_prefix(1);
  const std::string pattern(data.substr(0, choice));
  const std::string text(data.substr(pattern.size()));
  const bool matches = GlobMatch(pattern, text);
  const bool matches_folded = GlobMatch(pattern, text, true);
  if (matches) CHECK(GlobMatch("*" + pattern, text));
  // An open bracket or a backslash at the end would take the star in.
  if (matches && pattern.find_first_of("[\\") == std::string::npos) {
    CHECK(matches_folded);
    CHECK(GlobMatch(pattern + "*", text));
    CHECK(GlobMatch("*" + pattern + "*", "x" + text + "x"));
  }
  std::string escaped;
  for (const char c : text) (escaped += '\\') += c;
  CHECK(GlobMatch(escaped, text));
}

}  // namespace
}  // namespace infinicache::wire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinicache::wire::Fuzz({reinterpret_cast<const char*>(data), size});
  return 0;
}
