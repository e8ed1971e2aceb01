#include "cache/commit_pace.h"

#include <doctest/doctest.h>

#include <vector>

namespace cairn {
namespace {

using std::chrono::seconds;

TEST_CASE("commit pace: doubles while most of what is uploaded is not what was written") {
  const CommitPace pace{seconds(5), seconds(300)};
  Duration interval = pace.shortest;
  std::vector<int64_t> seen;
  for (int i = 0; i < 8; ++i) {
    interval = next_commit_interval(interval, pace, 4001 + 3, 1000);
    seen.push_back(interval.count() / 1'000'000'000);
  }
  CHECK(seen == std::vector<int64_t>{10, 20, 40, 80, 160, 300, 300, 300});
  CHECK(next_commit_interval(interval, pace, 4000, 1000) == pace.shortest);
  CHECK(next_commit_interval(interval, pace, 0, 0) == pace.shortest);
  CHECK(next_commit_interval(pace.shortest, pace, 8000, 0) == seconds(10));
}

TEST_CASE("commit pace: an interval that is longer than the longest stays as it was asked for") {
  const CommitPace pace{seconds(600), seconds(300)};
  CHECK(next_commit_interval(seconds(600), pace, 1000, 0) == seconds(600));
}

}  // namespace
}  // namespace cairn
