#include "cache/line_pace.h"

#include <doctest/doctest.h>

namespace cairn {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kPack = 32ULL << 20;

TEST_CASE("put pace: as many as the line takes quickly, never fewer or more than may be") {
  const PutPace pace{3, 6};
  unsigned now = 0;
  for (const unsigned expected : {3U, 4U, 5U, 6U, 6U})
    CHECK((now = next_puts_in_flight(now, pace, kPack, milliseconds(400))) == expected);
  CHECK(next_puts_in_flight(now, pace, kPack, seconds(3)) == 6);
  for (const unsigned expected : {5U, 4U, 3U, 3U})
    CHECK((now = next_puts_in_flight(now, pace, kPack, seconds(8))) == expected);
}

TEST_CASE("put pace: a small pack says nothing, whichever way") {
  const PutPace pace{3, 6};
  CHECK(next_puts_in_flight(4, pace, 64 << 10, milliseconds(1)) == 4);
  CHECK(next_puts_in_flight(4, pace, 64 << 10, seconds(60)) == 4);
}

TEST_CASE("put pace: no more than the fewest where there is no room for more") {
  CHECK(next_puts_in_flight(3, {3, 1}, kPack, milliseconds(1)) == 3);
}

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
