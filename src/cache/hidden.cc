#include "cache/hidden.h"

namespace infinicache::cache {
namespace {

bool IsAt(const ObjectRecord& object, pool::Place place) {
  for (std::size_t i = 0; i < object.width(); ++i) {
    if (object.place(i) == place) return true;
  }
  return false;
}

}  // namespace

std::size_t MarksThatHide(const ObjectRecord& object) {
  return object.layout().code.parity + std::size_t{1};
}

bool Hides(const ObjectRecord& newer, const ObjectRecord& older) {
  std::size_t witnesses = 0;
  for (std::size_t i = 0; i < older.width(); ++i) {
    const pool::Place place = older.place(i);
    if (!place.IsNowhere() && IsAt(newer, place)) ++witnesses;
  }
  return witnesses >= MarksThatHide(older);
}

ObjectRef Exposed(const Directory::CommitResult& commit, const ObjectRef& written) {
  if (!commit.committed || commit.previous == nullptr) return nullptr;
  // Of two writes at the same time the later one may have been committed first.
  const bool in_order = commit.previous->version() < written->version();
  const ObjectRef& newer = in_order ? written : commit.previous;
  const ObjectRef& older = in_order ? commit.previous : written;
  return Hides(*newer, *older) ? nullptr : older;
}

}  // namespace infinicache::cache
