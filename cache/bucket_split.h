// split_points: where the listing of a large directory may be split to go on in several places.
//
// A store lists in byte order and tells nothing of what is to come, so this is a guess from names
// that were seen: they mostly count up in some alphabet. At the place where the first and the last
// name differ, the one before it and the one behind it, each further character that was seen about
// there begins a part. A wrong guess costs a request for each empty part. Pure, safe from any
// thread.
#pragma once

#include <bitset>
#include <string>
#include <string_view>
#include <vector>

namespace cairn {

// Names of a directory, in the order of their bytes.
class NamesSeen {
 public:
  void note(std::string_view name);
  // Behind all that were seen, ascending, at most `most`; where there would be more, the parts that
  // may be large. Only printable characters are put in: names are UTF-8.
  std::vector<std::string> split_points(size_t most) const;

 private:
  using Characters = std::bitset<128>;
  static constexpr size_t kPlacesMost = 64;
  Characters about(size_t place) const;

  std::string first_, last_;
  std::vector<Characters> characters_;  // at each of the first places
};

}  // namespace cairn
