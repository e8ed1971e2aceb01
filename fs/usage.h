// Usage: what the files of a volume take, as df shows it and as the quota counts it: the sum of
// what st_blocks shows of every inode, and how many inodes there are.
//
// The published sums stand in the commit; behind that every change carries the new sums as a row
// of this cache (kState), so that they are exact after a crash as well.
// Owner: the Volume, under its namespace lock. Not thread-safe.
#pragma once

#include <cstdint>

#include "cache/engine.h"

namespace cairn {

struct Usage {
  uint64_t bytes = 0;
  uint64_t inodes = 0;
  bool operator==(const Usage&) const = default;

  // The sums of the newest state. kCorruption when the row is damaged.
  static Result<Usage> open(Engine& engine);
  // Those of the published one.
  static Usage published(Engine& engine);
  void add(int64_t more_bytes, int64_t more_inodes);
  Effect effect() const;
};

}  // namespace cairn
