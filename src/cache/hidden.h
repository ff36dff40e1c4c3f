// Whether a version that was overwritten can come back when the directory is rebuilt.
//
// Its chunks are freed later than the client is answered, on nodes that sleep a minute later. If
// the version that replaced it is lost meanwhile, a rebuild must still see that there was one. It
// does if p+1 of the older version's chunks lie beside one of the newer: of any d of them that
// survive one then has its witness with it. ObjectWriter places chunks so; where it could not, the
// older version has to be marked (Retire).
//
// Thread-safety: free functions, from any thread. Cost: (d+p)^2 comparisons, about 0.1 us.
#pragma once

#include <cstddef>

#include "cache/directory.h"
#include "cache/object.h"

namespace infinicache::cache {

// p+1: any d chunks of `object` include one of so many.
std::size_t MarksThatHide(const ObjectRecord& object);

// Whether enough chunks of `older` lie beside one of `newer`, on the same instance.
bool Hides(const ObjectRecord& newer, const ObjectRecord& older);

// After a commit of `written`: the version that has to be marked as deleted before the client is
// answered. Null, as nearly always, if there is none.
ObjectRef Exposed(const Directory::CommitResult& commit, const ObjectRef& written);

}  // namespace infinicache::cache
