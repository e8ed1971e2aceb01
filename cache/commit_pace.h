// How long a change waits for its commit when nothing else asks for one. A pure function.
#pragma once

#include <algorithm>

#include "cache/base/clock.h"

namespace cairn {

struct CommitPace {
  Duration shortest;
  Duration longest;
};

// A commit writes whole tree nodes however little changed. While that is most of what goes to the
// store, the next commit waits twice as long; else it comes soon again.
inline Duration next_commit_interval(Duration now, const CommitPace& pace, uint64_t uploaded_bytes,
                                     uint64_t written_bytes) {
  constexpr uint64_t kTooMuch = 4;  // times what was written
  if (uploaded_bytes / kTooMuch <= written_bytes) return pace.shortest;
  return std::max(pace.shortest, std::min(now * 2, pace.longest));
}

}  // namespace cairn
