// Rescue: copies what changed in a mounted tree since its last commit into a plain directory.
#pragma once

#include <string>

#include "fs/volume.h"

namespace cairn {

struct RescueReport {
  uint64_t files = 0;
  uint64_t bytes = 0;
  uint64_t failed = 0;  // named in the log
};

// Walks the tree from its root; files, symlinks and directories with unpublished changes are made
// below `target` (which must exist) under their paths. Hostile names cannot lead outside.
Result<RescueReport> rescue(Volume& volume, const std::string& target);

}  // namespace cairn
