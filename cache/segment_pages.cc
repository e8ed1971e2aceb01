#include "cache/segment_pages.h"

namespace cairn {

std::optional<Buffer> SegmentPages::find(const Id& id) {
  const std::lock_guard lock(mutex_);
  const auto it = by_id_.find(id);
  if (it == by_id_.end()) return std::nullopt;
  entries_.splice(entries_.begin(), entries_, it->second);
  return it->second->second;
}

void SegmentPages::insert(const Id& id, const Buffer& page) {
  const std::lock_guard lock(mutex_);
  if (by_id_.contains(id)) return;
  entries_.emplace_front(id, page);
  by_id_.emplace(id, entries_.begin());
  bytes_ += page.size();
  while (bytes_ > bytes_max_ && entries_.size() > 1) {
    bytes_ -= entries_.back().second.size();
    by_id_.erase(entries_.back().first);
    entries_.pop_back();
  }
}

}  // namespace cairn
