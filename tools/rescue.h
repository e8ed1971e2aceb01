// Rescue: copies what changed in a mounted tree since its last commit into a plain directory.
#pragma once

#include <string>
#include <vector>

#include "fs/volume.h"

namespace cairn {

struct RescueReport {
  uint64_t files = 0;  // everything that is no directory
  uint64_t bytes = 0;
  uint64_t nameless = 0;     // their names are lost
  std::string nameless_dir;  // in the target: where they are
  uint64_t failed = 0;       // not there, or not whole; named in the log
  uint64_t missing = 0;      // bytes of these that only the store has
};

// Walks the tree from its root; what has unpublished changes is made below `target` (which must be
// an empty directory) under its path, with owner, mode, times, extended attributes and hard links
// as far as this user may set them. What cannot be read is zeroes, and named; `lost` is what is
// known to be damaged. Hostile names cannot lead outside.
Result<RescueReport> rescue(Volume& volume, const std::string& target,
                            const std::vector<LostData>& lost);

}  // namespace cairn
