#include "tools/units.h"

#include <doctest/doctest.h>

using namespace cairn;

TEST_CASE("sizes are read with and without suffixes") {
  CHECK(parse_size("0").value() == 0);
  CHECK(parse_size("4096").value() == 4096);
  CHECK(parse_size("64M").value() == 64ULL << 20);
  CHECK(parse_size("64MiB").value() == 64ULL << 20);
  CHECK(parse_size("1.5g").value() == 3ULL << 29);
  CHECK(parse_size("2TB").value() == 2ULL << 40);
}

TEST_CASE("what is no size is refused and named") {
  for (const char* text : {"", "G", "12X", "12 G", "-1", "1e30", "99999999P", "nan", "inf"}) {
    const auto size = parse_size(text);
    REQUIRE_FALSE(size);
    CHECK(size.error().message().find(text) != std::string::npos);
  }
}

TEST_CASE("durations are read, a plain number is seconds") {
  CHECK(parse_duration("5").value() == std::chrono::seconds(5));
  CHECK(parse_duration("250ms").value() == std::chrono::milliseconds(250));
  CHECK(parse_duration("5m").value() == std::chrono::minutes(5));
  CHECK(parse_duration("1.5h").value() == std::chrono::minutes(90));
  CHECK(parse_duration("never").value() > std::chrono::hours(24 * 365 * 10));
  for (const char* text : {"", "h", "5 m", "5y", "-1s", "1e20s", "nan", "inf"})
    CHECK_FALSE(parse_duration(text));
}

TEST_CASE("sizes and durations are written for people") {
  CHECK(format_size(999) == "999 B");
  CHECK(format_size(1536) == "1.5 KiB");
  CHECK(format_duration(250) == "250 ms");
  CHECK(format_duration(125'000) == "2 min 5 s");
}
