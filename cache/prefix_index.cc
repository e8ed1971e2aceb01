#include "cache/prefix_index.h"

#include <algorithm>

namespace cairn {
namespace {
bool by_prefix(const PrefixIndex::Entry& a, const PrefixIndex::Entry& b) {
  return a.prefix < b.prefix;
}
}  // namespace

void PrefixIndex::add(std::vector<Entry> entries, const std::function<bool(uint32_t)>& alive) {
  if (entries.empty()) return;
  std::sort(entries.begin(), entries.end(), by_prefix);
  runs_.push_back(std::move(entries));
  while (runs_.size() >= 2 && runs_.back().size() * 2 >= runs_[runs_.size() - 2].size()) {
    Run newer = std::move(runs_.back());
    runs_.pop_back();
    Run older = std::move(runs_.back());
    runs_.pop_back();
    Run merged;
    merged.reserve(newer.size() + older.size());
    std::merge(newer.begin(), newer.end(), older.begin(), older.end(), std::back_inserter(merged),
               by_prefix);
    std::erase_if(merged, [&](const Entry& entry) { return !alive(entry.file); });
    runs_.push_back(std::move(merged));
  }
}

void PrefixIndex::find(const Digest& digest, const std::function<bool(const Entry&)>& visit) const {
  const Entry wanted{.prefix = prefix_of(digest)};
  for (auto run = runs_.rbegin(); run != runs_.rend(); ++run) {
    const auto [first, last] = std::equal_range(run->begin(), run->end(), wanted, by_prefix);
    for (auto it = first; it != last; ++it)
      if (visit(*it)) return;
  }
}

void PrefixIndex::sweep(const std::function<bool(uint32_t)>& alive) {
  for (Run& run : runs_) {
    std::erase_if(run, [&](const Entry& entry) { return !alive(entry.file); });
    run.shrink_to_fit();
  }
  std::erase_if(runs_, [](const Run& run) { return run.empty(); });
}

size_t PrefixIndex::size() const {
  size_t total = 0;
  for (const Run& run : runs_) total += run.size();
  return total;
}

}  // namespace cairn
