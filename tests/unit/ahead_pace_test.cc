#include "cache/ahead_pace.h"

#include <doctest/doctest.h>

namespace cairn {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_CASE("ahead pace: grows by a part while they come quickly, halves when one does not") {
  const AheadPace pace{2, 22};
  uint64_t now = first_ahead_bytes(pace);
  CHECK(now == 16);
  for (const uint64_t expected : {18U, 20U, 22U, 22U})
    CHECK((now = next_ahead_bytes(now, pace, milliseconds(40), true)) == expected);
  CHECK(next_ahead_bytes(now, pace, seconds(3), true) == 22);
  for (const uint64_t expected : {11U, 5U, 4U, 4U})
    CHECK((now = next_ahead_bytes(now, pace, seconds(8), true)) == expected);
  CHECK(next_ahead_bytes(16, pace, milliseconds(1), false) == 8);
}

TEST_CASE("ahead pace: never more than may be, whatever a part is") {
  CHECK(first_ahead_bytes({4, 6}) == 6);
  CHECK(next_ahead_bytes(6, {4, 6}, milliseconds(1), true) == 6);
  CHECK(next_ahead_bytes(6, {4, 6}, seconds(60), false) == 6);
}

}  // namespace
}  // namespace cairn
