// CHECK: a broken invariant stops the program, in release builds too.
//
//   CHECK(index < size);
//   CHECK(index < size, "index {} of {}", index, size);
//
// Use it for bugs only; an expected failure is a Result (base/result.h). Never pass client data
// that must stay secret: the arguments are printed.
#pragma once

#include <fmt/format.h>

#include <string>

namespace infinicache::internal {

// Prints the failed expression with its place and detail to stderr and aborts.
[[noreturn]] void CheckFailed(const char* expression, const char* file, int line,
                              const std::string& detail);

inline std::string CheckDetail() {
  return {};
}
template <typename... Args>
std::string CheckDetail(fmt::format_string<Args...> format, Args&&... args) {
  return fmt::format(format, std::forward<Args>(args)...);
}

}  // namespace infinicache::internal

#define CHECK(condition, ...)                                                                  \
  do {                                                                                         \
    if (!(condition)) [[unlikely]] {                                                           \
      ::infinicache::internal::CheckFailed(#condition, __FILE__, __LINE__,                     \
                                           ::infinicache::internal::CheckDetail(__VA_ARGS__)); \
    }                                                                                          \
  } while (false)
