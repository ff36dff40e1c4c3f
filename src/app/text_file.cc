#include "app/text_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/bytes.h"

namespace infinicache::app {

Result<std::string> ReadTextFile(const std::string& path, std::size_t bytes_max) {
  const auto failed = [&](int error_number) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: {}", path, std::strerror(error_number)));
  };
  // Not to wait for a writer if it is a pipe.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return failed(errno);
  std::string text(bytes_max + 1, '\0');
  std::size_t filled = 0;
  ssize_t bytes = 0;
  do {
    bytes = read(fd, text.data() + filled, text.size() - filled);
    if (bytes > 0) filled += static_cast<std::size_t>(bytes);
  } while (bytes > 0 || (bytes < 0 && errno == EINTR));
  const int error_number = errno;
  close(fd);
  if (bytes < 0) return failed(error_number);
  if (filled > bytes_max) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: larger than {}", path, FormatByteSize(bytes_max)));
  }
  text.resize(filled);
  return text;
}

}  // namespace infinicache::app
