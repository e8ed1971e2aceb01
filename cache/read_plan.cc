#include "cache/read_plan.h"

#include <algorithm>
#include <numeric>

namespace cairn {

std::vector<PlannedRead> plan_reads(std::span<const BlockPlace> places, uint64_t gap_max,
                                    uint64_t bytes_max) {
  std::vector<size_t> order(places.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (places[a].pack != places[b].pack) return places[a].pack < places[b].pack;
    return places[a].offset < places[b].offset;
  });
  std::vector<PlannedRead> reads;
  for (const size_t want : order) {
    const BlockPlace& place = places[want];
    const uint64_t end = place.offset + place.length;
    if (!reads.empty()) {
      PlannedRead& last = reads.back();
      const uint64_t joined_end = std::max(end, last.range.end());
      if (last.pack == place.pack && place.offset <= last.range.end() + gap_max &&
          joined_end - last.range.offset <= bytes_max) {
        last.range.length = joined_end - last.range.offset;
        last.wants.push_back(want);
        continue;
      }
    }
    reads.push_back({place.pack, {place.offset, place.length}, {want}});
  }
  const auto first_want = [](const PlannedRead& read) {
    return *std::min_element(read.wants.begin(), read.wants.end());
  };
  std::stable_sort(reads.begin(), reads.end(), [&](const PlannedRead& a, const PlannedRead& b) {
    return first_want(a) < first_want(b);
  });
  return reads;
}

}  // namespace cairn
