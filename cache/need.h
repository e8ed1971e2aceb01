// Need: what an operation lacked. It is asked for (Engine::satisfy), and the operation runs again.
#pragma once

#include <vector>

#include "cache/live_state.h"
#include "cache/remote.h"

namespace cairn {

// What an operation could not find here.
struct Need {
  Missing blocks;
  struct Chunk {
    uint64_t inode = 0;
    uint64_t chunk = 0;
    Leaf leaf;
  };
  std::vector<Chunk> chunks;
  bool space = false;  // room for new data, or for more pending work
  uint64_t space_bytes = 0;
  Lsn stored = 0;  // everything up to this record in the store
  bool any() const { return space || stored > 0 || !blocks.empty() || !chunks.empty(); }
  // It waits until the store takes something: that has its own limit, the stall timeout.
  bool waits_for_uploads() const { return space || stored > 0; }
};

}  // namespace cairn
