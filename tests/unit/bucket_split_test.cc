#include "cache/bucket_split.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace cairn;

namespace {

using Points = std::vector<std::string>;

Points points_of(const Points& names, size_t most = 100) {
  NamesSeen seen;
  for (const std::string& name : names) seen.note(name);
  return seen.split_points(most);
}

}  // namespace

TEST_CASE("a listing is split where the names seen say that others may follow") {
  CHECK(points_of({}).empty());
  CHECK(points_of({"a"}).empty());
  // Counting up: from the digit before the one that differs to the one behind it, the large parts
  // first where they are too many. What stands behind the number says nothing of its digits.
  const Points names{"i0125689.jpg", "i0136043.jpg", "i0147712.jpg"};
  CHECK(points_of(names) == Points{"i0148", "i0149", "i015", "i016", "i017", "i018", "i02", "i03",
                                   "i04", "i05", "i06", "i07"});
  CHECK(points_of(names, 5).back() > "i05");
  // The last ones of an alphabet: nothing is known behind them.
  CHECK(points_of({"aa", "az", "zz"}).empty());
}

TEST_CASE("split points are in order, behind all names, no more than asked for, and UTF-8") {
  Points names;
  for (int i = 0; i < 40; ++i) names.push_back("b\xc3\xa9-" + std::to_string(1000 + 37 * i));
  for (const size_t most : {1, 3, 15, 1000}) {
    const Points points = points_of(names, most);
    CHECK(points.size() <= most);
    CHECK(!points.empty());
    CHECK(std::is_sorted(points.begin(), points.end()));
    CHECK(std::adjacent_find(points.begin(), points.end()) == points.end());
    for (const std::string& point : points) {
      CHECK(point > names.back());
      CHECK(point.find('/') == std::string::npos);
    }
  }
  // Between two characters of several bytes there is no place for another.
  CHECK(points_of({"\xc3\xa9", "\xc3\xaa"}).empty());
}
