#include "cache/bucket_split.h"

#include <algorithm>

namespace cairn {

namespace {

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

}  // namespace

void NamesSeen::note(std::string_view name) {
  if (name.empty()) return;
  if (first_.empty()) first_ = name;
  last_ = std::max<std::string_view>(last_, name) == last_ ? last_ : std::string(name);
  for (const char c : name)
    if (c > ' ' && c < '\x7f' && c != '/') characters_.set(static_cast<size_t>(c));
}

std::vector<std::string> NamesSeen::split_points(size_t most) const {
  const size_t end = std::min(first_.size(), last_.size());
  size_t differ = 0;
  while (differ < end && first_[differ] == last_[differ]) ++differ;
  std::vector<std::string> points;
  const auto add = [&](size_t at) {
    if (at >= last_.size() || is_continuation(last_[at])) return;
    for (size_t c = 0; c < characters_.size(); ++c)
      if (characters_[c] && c > static_cast<unsigned char>(last_[at]))
        points.push_back(last_.substr(0, at) + static_cast<char>(c));
  };
  add(differ);
  if (differ > 0) add(differ - 1);
  if (points.size() <= most) return points;
  std::vector<std::string> some;
  for (size_t i = 0; i < most; ++i) some.push_back(points[i * points.size() / most]);
  return some;
}

}  // namespace cairn
