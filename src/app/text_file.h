// A small file as one string.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"

namespace infinicache::app {

// Errors: kInvalidArgument, "path: why" (no such file, not permitted, a folder, above `bytes_max`).
Result<std::string> ReadTextFile(const std::string& path, std::size_t bytes_max);

}  // namespace infinicache::app
