// How much of what nobody waits for yet may be on its way. A pure function.
//
// On a wide line much has to be, or the line is idle for most of each round trip. On a narrow one
// everything that is asked ahead stands in the way of what a reader waits for, and what does not
// come within a request's time is thrown away.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cache/base/clock.h"

namespace cairn {

struct AheadPace {
  uint64_t part_bytes = 0;  // of one request
  uint64_t most = 0;
};

// To begin with: eight parts.
inline uint64_t first_ahead_bytes(const AheadPace& pace) {
  return std::min(8 * pace.part_bytes, pace.most);
}

// After a part took so long while up to `now` was under way: one part more as long as they come
// quickly, half where one takes long or does not come; two parts at least.
inline uint64_t next_ahead_bytes(uint64_t now, const AheadPace& pace, Duration took, bool came) {
  constexpr Duration kQuick = std::chrono::milliseconds(1500);
  constexpr Duration kSlow = std::chrono::seconds(6);
  if (!came || took >= kSlow)
    now /= 2;
  else if (took <= kQuick)
    now += pace.part_bytes;
  return std::min(std::max(now, 2 * pace.part_bytes), pace.most);
}

}  // namespace cairn
