// How much may be under way on this line: packs that go to the store, and what is asked ahead of a
// reader. Pure functions of how long the last one took.
//
// One connection to a large store carries some 50 to 100 MB/s however wide the line is, so a wide
// line is only filled by many. On a narrow one many only make each late, stand in the way of what a
// reader waits for, and what does not come within a request's time, or before the mount ends, is
// thrown away.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cache/base/clock.h"

namespace cairn {

// One that came so soon lets more go; one that took so long, fewer.
inline constexpr Duration kQuickOnLine = std::chrono::milliseconds(1500);
inline constexpr Duration kSlowOnLine = std::chrono::seconds(6);

struct PutPace {
  unsigned fewest = 3;
  unsigned most = 3;
};

// After a pack of `bytes` took so long while up to `now` were under way: one more or one less.
// Small packs say nothing.
inline unsigned next_puts_in_flight(unsigned now, const PutPace& pace, uint64_t bytes,
                                    Duration took) {
  constexpr uint64_t kTelling = 4ULL << 20;
  if (bytes >= kTelling && took <= kQuickOnLine) ++now;
  if (bytes >= kTelling && took >= kSlowOnLine && now > 0) --now;
  return std::clamp(now, pace.fewest, std::max(pace.fewest, pace.most));
}

struct AheadPace {
  uint64_t part_bytes = 0;  // of one request
  uint64_t most = 0;
};

// To begin with: eight parts.
inline uint64_t first_ahead_bytes(const AheadPace& pace) {
  return std::min(8 * pace.part_bytes, pace.most);
}

// After a part took so long while up to `now` was under way: one part more, or half, also where it
// did not come; two parts at least.
inline uint64_t next_ahead_bytes(uint64_t now, const AheadPace& pace, Duration took, bool came) {
  if (!came || took >= kSlowOnLine)
    now /= 2;
  else if (took <= kQuickOnLine)
    now += pace.part_bytes;
  return std::min(std::max(now, 2 * pace.part_bytes), pace.most);
}

}  // namespace cairn
