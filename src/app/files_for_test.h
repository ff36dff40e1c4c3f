// A file that exists while the object does, for tests.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include "base/check.h"

namespace infinicache::app {

class FileForTest {
 public:
  explicit FileForTest(std::string_view text) {
    const char* folder = std::getenv("TMPDIR");
    path_ = std::string(folder != nullptr ? folder : "/tmp") + "/infinicache-test-XXXXXX";
    const int fd = mkstemp(path_.data());
    CHECK(fd >= 0, "mkstemp {}", path_);
    close(fd);
    std::ofstream(path_, std::ios::binary) << text;
  }
  FileForTest(const FileForTest&) = delete;
  FileForTest& operator=(const FileForTest&) = delete;
  ~FileForTest() { unlink(path_.c_str()); }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace infinicache::app
