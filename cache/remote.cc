#include "cache/remote.h"

namespace cairn {

void Missing::add(const Digest& digest) {
  if (seen_.insert(digest).second) digests_.push_back(digest);
}

void Missing::clear() {
  digests_.clear();
  seen_.clear();
}

}  // namespace cairn
