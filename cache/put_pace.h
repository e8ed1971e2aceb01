// How many packs go to the store at once. A pure function.
//
// One connection to a large store carries some 50 to 100 MB/s however wide the line is, so a wide
// line is only filled by many; on a narrow one many only make each pack late, and all that was sent
// of it is lost when the mount ends.
#pragma once

#include <algorithm>

#include "cache/base/clock.h"

namespace cairn {

struct PutPace {
  unsigned fewest = 3;
  unsigned most = 3;
};

// After a pack of `bytes` took so long while up to `now` were under way: one more as long as packs
// come through quickly, one less where they take long. Small packs say nothing.
inline unsigned next_puts_in_flight(unsigned now, const PutPace& pace, uint64_t bytes,
                                    Duration took) {
  constexpr uint64_t kTelling = 4ULL << 20;
  constexpr Duration kQuick = std::chrono::milliseconds(1500);
  constexpr Duration kSlow = std::chrono::seconds(6);
  if (bytes >= kTelling && took <= kQuick) ++now;
  if (bytes >= kTelling && took >= kSlow && now > 0) --now;
  return std::clamp(now, pace.fewest, std::max(pace.fewest, pace.most));
}

}  // namespace cairn
