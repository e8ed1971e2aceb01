// What the reads of one handle make it ask for ahead.
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>

#include "fs/read_ahead.h"

using namespace cairn;

namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
constexpr uint64_t kSize = 1024 * kMiB;

struct Reader {
  ReadAhead ahead;
  uint64_t at = 0;

  // Reads on, and has asked for all that was wanted.
  std::optional<ReadAhead::Range> read(uint64_t length = 128 * kKiB) {
    const auto range = plan(length);
    if (range) ahead.asked(*range, range->until);
    return range;
  }
  std::optional<ReadAhead::Range> plan(uint64_t length = 128 * kKiB) {
    const auto range = ahead.plan(kSize, at, length);
    at += length;
    return range;
  }
};

}  // namespace

TEST_CASE("a stream asks for all that lies ahead of it, once, for a few times what it read") {
  Reader reader;
  CHECK(!reader.read());
  uint64_t until = 0;
  uint64_t largest = 0;
  while (reader.at < 512 * kMiB) {
    const auto range = reader.read();
    if (!range) continue;
    CHECK(range->from == std::max(until, reader.at));
    until = range->until;
    CHECK(until - reader.at <= std::max(kMiB, 4 * reader.at));
    CHECK(until - reader.at <= std::max(8 * kMiB, 2 * reader.at));
    largest = std::max(largest, until - reader.at);
  }
  CHECK(until > reader.at);
  CHECK(largest == 48 * kMiB);
}

TEST_CASE("what there was no room for is asked for by the next read, whoever came in between") {
  Reader reader;
  reader.plan();
  const auto first = reader.plan();
  REQUIRE(first);
  // Other reads of the handle, while the first still asks: they must not go on behind it.
  while (reader.at < 8 * kMiB) CHECK(!reader.plan(kMiB));
  const uint64_t reached = 9 * kMiB;
  ReadAhead::Range more = *first;
  more.until = 10 * kMiB;
  reader.ahead.asked(more, reached);
  const auto next = reader.plan();
  REQUIRE(next);
  CHECK(next->from == reached);
}

TEST_CASE("who jumped meanwhile does not take over how far the stream before was asked for") {
  Reader reader;
  reader.plan();
  const auto first = reader.plan();
  REQUIRE(first);
  reader.at = 600 * kMiB;
  CHECK(!reader.plan(32 * kKiB));
  reader.ahead.asked(*first, first->until);
  CHECK(!reader.plan(64 * kKiB));  // not a stream yet
  const auto range = reader.plan();
  REQUIRE(range);
  CHECK(range->from == reader.at);
}

TEST_CASE("records read here and there, and a read that is run again, ask for nothing") {
  Reader reader;
  for (uint64_t n = 1; n < 100; ++n) {
    reader.at = n * 7919 * kKiB;
    CHECK(!reader.read(16 * kKiB));
    CHECK(!reader.read(16 * kKiB));
  }
  Reader again;
  again.read();
  REQUIRE(again.read());
  again.at -= 128 * kKiB;
  CHECK(!again.read());
}
