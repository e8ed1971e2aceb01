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

// What comes so soon lets more go; what takes so long, fewer.
inline constexpr Duration kQuickOnLine = std::chrono::milliseconds(1500);
inline constexpr Duration kSlowOnLine = std::chrono::seconds(6);

struct PutPace {
  unsigned fewest = 3;
  unsigned most = 3;
  uint64_t pack_bytes = 32ULL << 20;  // of a whole one
};

// Until one of a mount came they have no more bytes: it tells sooner how quick the line is.
inline constexpr uint64_t kTellingPackBytes = 8ULL << 20;

struct PutSeen {
  uint64_t bytes = 0;
  Duration took{};
  unsigned at_once = 1;  // under way when it began, itself among them
  bool came = true;      // it is in the store
};
// Whether it says anything: small ones do not.
inline bool tells(const PutSeen& seen) {
  return seen.bytes >= kTellingPackBytes / 2;
}

// How many may be under way, after `now`: so many that each whole one would take kQuickOnLine if
// all shared what the line carried; it is found out soon whether it carries more. One less where
// one would take kSlowOnLine, half where one did not come.
inline unsigned next_puts_in_flight(unsigned now, const PutPace& pace, const PutSeen& seen) {
  const unsigned most = std::max(pace.fewest, pace.most);
  if (!seen.came) {
    now /= 2;
  } else if (tells(seen)) {
    using Seconds = std::chrono::duration<double>;
    const auto packs = static_cast<double>(seen.bytes) / static_cast<double>(pace.pack_bytes);
    const Seconds whole = std::max(Seconds(seen.took) / packs, Seconds(1e-6));
    const double could = std::min<double>(seen.at_once * (Seconds(kQuickOnLine) / whole), most);
    now = std::max(now, static_cast<unsigned>(could));
    if (whole >= kSlowOnLine && now > 0) --now;
  }
  return std::clamp(now, pace.fewest, most);
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
