// A limit that the kernel keeps a process's memory to.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace infinicache {

// From now on this process gets at most `bytes` of private writable memory (RLIMIT_DATA: heap,
// arenas and stacks, touched or not): an allocation beyond it fails, which ends a program that has
// no use for that. Does nothing in a build with sanitizers, whose shadow memory is larger than any
// sensible limit. Errors: kUnavailable.
Status LimitMemory(std::uint64_t bytes);

}  // namespace infinicache
