#include "cache/line_pace.h"

#include <doctest/doctest.h>

namespace cairn {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kPack = 32ULL << 20;

TEST_CASE("put pace: at once as many as take a second and a half if they share the line") {
  const PutPace pace{3, 16, kPack};
  CHECK(next_puts_in_flight(3, pace, {kPack, seconds(1), 3}) == 4);
  CHECK(next_puts_in_flight(3, pace, {kPack, milliseconds(420), 3}) == 10);
  CHECK(next_puts_in_flight(10, pace, {kPack, milliseconds(420), 10}) == 16);
  CHECK(next_puts_in_flight(3, pace, {kPack, milliseconds(0), 3}) == 16);
  // No more, and no fewer yet.
  CHECK(next_puts_in_flight(9, pace, {kPack, seconds(3), 9}) == 9);
  CHECK(next_puts_in_flight(9, pace, {kPack, milliseconds(420), 1}) == 9);
}

TEST_CASE("put pace: one less where it takes long, never fewer or more than may be") {
  const PutPace pace{3, 6, kPack};
  unsigned now = 6;
  for (const unsigned expected : {5U, 4U, 3U, 3U})
    CHECK((now = next_puts_in_flight(now, pace, {kPack, seconds(8), now})) == expected);
  CHECK(next_puts_in_flight(0, pace, {kPack, seconds(8), 1}) == 3);
  CHECK(next_puts_in_flight(16, {3, 16, kPack}, {kPack, seconds(1), 16, false}) == 8);
  CHECK(next_puts_in_flight(4, {3, 16, kPack}, {1000, seconds(1), 16, false}) == 3);
  CHECK(next_puts_in_flight(6, pace, {kTellingPackBytes, seconds(100'000), 6}) == 5);
  CHECK(next_puts_in_flight(3, {3, 1, kPack}, {kPack, milliseconds(1), 3}) == 3);
}

TEST_CASE("put pace: what a part of a pack takes counts as of a whole one; a small one does not") {
  const PutPace pace{3, 16, kPack};
  CHECK(next_puts_in_flight(3, pace, {kTellingPackBytes, milliseconds(250), 3}) == 4);
  CHECK(next_puts_in_flight(6, pace, {kTellingPackBytes, seconds(2), 3}) == 5);
  CHECK(next_puts_in_flight(4, pace, {64 << 10, milliseconds(1), 3}) == 4);
  CHECK(next_puts_in_flight(4, pace, {64 << 10, seconds(60), 3}) == 4);
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
