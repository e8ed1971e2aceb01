#include "cache/remote.h"

#include <algorithm>

namespace cairn {

void Missing::add(const Digest& digest) {
  if (seen_.insert(digest).second) digests_.push_back(digest);
}

void Missing::add_name(uint64_t dir, std::string_view name) {
  Name wanted{dir, std::string(name)};
  if (std::find(names_.begin(), names_.end(), wanted) == names_.end())
    names_.push_back(std::move(wanted));
}

void Missing::add_object(uint64_t ino) {
  if (std::find(objects_.begin(), objects_.end(), ino) == objects_.end()) objects_.push_back(ino);
}

void Missing::clear() {
  objects_.clear();
  names_.clear();
  digests_.clear();
  seen_.clear();
}

}  // namespace cairn
