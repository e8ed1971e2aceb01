#include "cache/put_pace.h"

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

}  // namespace
}  // namespace cairn
