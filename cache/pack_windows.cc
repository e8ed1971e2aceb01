#include "cache/pack_windows.h"

#include <algorithm>
#include <cstring>

namespace cairn {

namespace {
constexpr size_t kMaxHabits = 1024;  // packs; forgetting one costs a few smaller windows
constexpr uint64_t kGrowthFound = 4;         // a window grows by this factor after finds
constexpr uint64_t kGrowthMissed = 2;        // and by this one otherwise
constexpr uint64_t kMaxOffset = 1ULL << 48;  // no pack is so long, whatever an index says

bool holds(const ByteRange& range, const BlockPlace& place) {
  return place.offset >= range.offset && place.offset <= range.end() &&
         place.length <= range.end() - place.offset;
}
}  // namespace

std::list<PackWindows::Window>::iterator PackWindows::window_at(const Digest& pack,
                                                                uint64_t offset) {
  const auto it = std::find_if(windows_.begin(), windows_.end(), [&](const Window& window) {
    return window.pack == pack && offset >= window.start && offset < window.range().end();
  });
  if (it != windows_.end()) windows_.splice(windows_.begin(), windows_, it);
  return it;
}

std::optional<Buffer> PackWindows::take(const BlockPlace& place) {
  const auto first = window_at(place.pack, place.offset);
  if (first == windows_.end()) return std::nullopt;
  const auto from = static_cast<size_t>(place.offset - first->start);
  const size_t before = first->bytes.size() - from;
  if (before >= place.length) return first->bytes.slice(from, place.length);
  // Windows end where their grid says, mostly within a block: the rest is in the next one.
  const auto next = window_at(place.pack, place.offset + before);
  if (next == windows_.end()) return std::nullopt;
  const auto next_from = static_cast<size_t>(place.offset + before - next->start);
  const size_t rest = place.length - before;
  if (next->bytes.size() - next_from < rest) return std::nullopt;
  ByteVec joined(place.length);
  std::memcpy(joined.data(), first->bytes.view().data() + from, before);
  std::memcpy(joined.data() + before, next->bytes.view().data() + next_from, rest);
  return Buffer(std::move(joined));
}

PackWindows::Look PackWindows::look(const BlockPlace& place, Buffer& bytes, Waiter waiter) {
  const std::lock_guard lock(mutex_);
  if (auto here = take(place)) {
    bytes = *std::move(here);
    wanted_bytes_ += place.length;
    ++habits_[place.pack].finds;
    return Look::kHere;
  }
  const auto coming = std::find_if(coming_.begin(), coming_.end(), [&](const Coming& each) {
    return each.pack == place.pack && holds(each.range, place);
  });
  if (coming == coming_.end()) return Look::kMiss;
  coming->waiters.push_back(std::move(waiter));
  return Look::kComing;
}

uint64_t PackWindows::next_window_bytes(const Digest& pack) {
  if (habits_.size() >= kMaxHabits) habits_.clear();
  const auto [it, is_new] = habits_.try_emplace(pack);
  Habit& habit = it->second;
  const uint64_t growth = is_new ? 1 : habit.finds >= 2 ? kGrowthFound : kGrowthMissed;
  habit.window_bytes = std::min(habit.window_bytes * growth, kMostBytes);
  habit.finds = 0;
  return std::min({habit.window_bytes, paying_bytes_, bytes_max_ / 2});
}

void PackWindows::note_came(uint64_t bytes) {
  if (came_bytes_ >= bytes_max_ / 4) {
    if (wanted_bytes_ * 3 < came_bytes_)
      paying_bytes_ = std::max(paying_bytes_ / 2, kLeastBytes);
    else if (wanted_bytes_ * 3 > came_bytes_ * 2)
      paying_bytes_ = std::min(paying_bytes_ * 2, kMostBytes);
    came_bytes_ = wanted_bytes_ = 0;
  }
  came_bytes_ += bytes;  // nobody can have wanted anything of this yet
}

ByteRange PackWindows::widen(const Digest& pack, ByteRange range) {
  const bool small = range.length < kSmallBytes && range.offset < kMaxOffset;
  if (!small || bytes_max_ < 2 * kLeastBytes) return range;
  const std::lock_guard lock(mutex_);
  const uint64_t window = next_window_bytes(pack);
  // On a grid, so that windows of one size meet without a gap or an overlap.
  uint64_t start = range.offset / window * window;
  uint64_t end = start + window;
  if (range.end() > end) end += window;  // what lies across the line begins the next one, too
  // What is here on either side does not come again.
  for (const Window& here : windows_) {
    if (here.pack != pack) continue;
    const ByteRange there = here.range();
    if (there.offset < range.offset) start = std::max(start, std::min(there.end(), range.offset));
    if (there.end() > range.end()) end = std::min(end, std::max(there.offset, range.end()));
  }
  const ByteRange wide{start, end - start};
  if (wide == range) return range;  // no window: nobody will say that it arrived
  wanted_bytes_ += range.length;
  coming_.push_back({pack, wide, {}});
  return wide;
}

void PackWindows::arrived(const Digest& pack, ByteRange range, const std::optional<Buffer>& bytes) {
  std::vector<Waiter> waiters;
  {
    const std::lock_guard lock(mutex_);
    const auto it = std::find_if(coming_.begin(), coming_.end(), [&](const Coming& each) {
      return each.pack == pack && each.range == range;
    });
    if (it == coming_.end()) return;
    waiters = std::move(it->waiters);
    coming_.erase(it);
    if (bytes) {
      // A smaller one inside this one is of no more use.
      std::erase_if(windows_, [&](const Window& window) {
        const bool inside = window.pack == pack && window.start >= range.offset &&
                            window.range().end() <= range.offset + bytes->size();
        if (inside) bytes_ -= window.bytes.size();
        return inside;
      });
      windows_.push_front({pack, range.offset, *bytes});
      bytes_ += bytes->size();
      note_came(bytes->size());
      while (bytes_ > bytes_max_) {
        bytes_ -= windows_.back().bytes.size();
        windows_.pop_back();
      }
    }
  }
  for (const Waiter& waiter : waiters) waiter(bytes.has_value());
}

void PackWindows::erase(const Digest& pack) {
  const std::lock_guard lock(mutex_);
  std::erase_if(windows_, [&](const Window& window) {
    if (window.pack == pack) bytes_ -= window.bytes.size();
    return window.pack == pack;
  });
}

}  // namespace cairn
