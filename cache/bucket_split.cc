#include "cache/bucket_split.h"

#include <algorithm>

namespace cairn {

namespace {

// In a number that counts up the digits behind the first ones were all seen already.
constexpr size_t kPlacesAbout = 4;

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

}  // namespace

void NamesSeen::note(std::string_view name) {
  if (name.empty()) return;
  if (first_.empty()) first_ = name;
  if (name > last_) last_ = name;
  const size_t places = std::min(name.size(), kPlacesMost);
  if (characters_.size() < places) characters_.resize(places);
  for (size_t i = 0; i < places; ++i)
    if (name[i] > ' ' && name[i] < '\x7f' && name[i] != '/')
      characters_[i].set(static_cast<size_t>(name[i]));
}

NamesSeen::Characters NamesSeen::about(size_t place) const {
  Characters out;
  for (size_t i = place; i < std::min(place + kPlacesAbout, characters_.size()); ++i)
    out |= characters_[i];
  return out;
}

std::vector<std::string> NamesSeen::split_points(size_t most) const {
  const size_t end = std::min(first_.size(), last_.size());
  size_t differ = 0;
  while (differ < end && first_[differ] == last_[differ]) ++differ;
  std::vector<std::string> points;
  for (size_t at = differ > 0 ? differ - 1 : 0; at <= differ + 1 && at < last_.size(); ++at) {
    if (is_continuation(last_[at])) continue;
    const Characters characters = about(at);
    std::vector<std::string> parts;
    for (auto c = static_cast<unsigned char>(last_[at]) + size_t{1}; c < characters.size(); ++c)
      if (characters[c]) parts.push_back(last_.substr(0, at) + static_cast<char>(c));
    const size_t take = std::min(parts.size(), most - points.size());
    for (size_t i = 0; i < take; ++i) points.push_back(parts[i * parts.size() / take]);
  }
  std::sort(points.begin(), points.end());
  return points;
}

}  // namespace cairn
