#include "cache/pack_windows.h"

#include <algorithm>

namespace cairn {

namespace {
constexpr size_t kMaxHabits = 1024;  // packs; forgetting one costs a few smaller windows
constexpr uint64_t kGrowth = 4;        // a window grows and shrinks by this factor
constexpr uint64_t kGrowthNear = 2;    // and by this one after a miss beside another
constexpr uint64_t kMaxOffset = 1ULL << 48;  // no pack is so long, whatever an index says

bool holds(const ByteRange& range, const BlockPlace& place) {
  return place.offset >= range.offset && place.offset <= range.end() &&
         place.length <= range.end() - place.offset;
}
}  // namespace

PackWindows::Look PackWindows::look(const BlockPlace& place, Buffer& bytes, Waiter waiter) {
  const std::lock_guard lock(mutex_);
  const auto here = std::find_if(windows_.begin(), windows_.end(), [&](const Window& window) {
    return window.pack == place.pack && holds(window.range(), place);
  });
  if (here != windows_.end()) {
    windows_.splice(windows_.begin(), windows_, here);
    bytes = here->bytes.slice(static_cast<size_t>(place.offset - here->start), place.length);
    here->wanted_bytes += place.length;
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

bool PackWindows::is_near(const Digest& pack, ByteRange range, uint64_t bytes) const {
  const auto beside = [&](const Digest& other, const ByteRange& there) {
    return other == pack && there.offset <= range.end() + bytes &&
           range.offset <= there.end() + bytes;
  };
  return std::any_of(windows_.begin(), windows_.end(),
                     [&](const Window& each) { return beside(each.pack, each.range()); }) ||
         std::any_of(coming_.begin(), coming_.end(),
                     [&](const Coming& each) { return beside(each.pack, each.range); });
}

uint64_t PackWindows::next_window_bytes(const Digest& pack, ByteRange range) {
  if (habits_.size() >= kMaxHabits) habits_.clear();
  const auto [it, is_new] = habits_.try_emplace(pack);
  Habit& habit = it->second;
  const bool waits = std::any_of(coming_.begin(), coming_.end(),
                                 [&](const Coming& each) { return each.pack == pack; });
  if (!is_new && habit.finds >= 2)
    habit.window_bytes = std::min(habit.window_bytes * kGrowth, kMostBytes);
  else if (is_near(pack, range, habit.window_bytes))
    habit.window_bytes = std::min(habit.window_bytes * kGrowthNear, kMostBytes);
  else if (!is_new && habit.finds == 0 && !waits)
    habit.window_bytes = std::max(habit.window_bytes / kGrowth, kLeastBytes);
  habit.finds = 0;
  return std::min({habit.window_bytes, paying_bytes_, bytes_max_ / 2});
}

void PackWindows::note_end(const Window& window) {
  if (window.wanted_bytes * 4 >= window.bytes.size())
    paying_bytes_ = std::min(paying_bytes_ * 2, kMostBytes);
  else if (window.wanted_bytes * 8 < window.bytes.size())
    paying_bytes_ = std::max(paying_bytes_ / 2, kFirstBytes);
}

ByteRange PackWindows::widen(const Digest& pack, ByteRange range) {
  const bool small = range.length < kSmallBytes && range.offset < kMaxOffset;
  if (!small || bytes_max_ < 2 * kLeastBytes) return range;
  const std::lock_guard lock(mutex_);
  const uint64_t window = next_window_bytes(pack, range);
  // On a grid, so that windows of one size meet without a gap or an overlap.
  uint64_t start = range.offset / window * window;
  uint64_t end = std::max(start + window, range.end());
  // What is here on either side does not come again.
  for (const Window& here : windows_) {
    if (here.pack != pack) continue;
    const ByteRange there = here.range();
    if (there.offset < range.offset) start = std::max(start, std::min(there.end(), range.offset));
    if (there.end() > range.end()) end = std::min(end, std::max(there.offset, range.end()));
  }
  const ByteRange wide{start, end - start};
  if (wide == range) return range;  // no window: nobody will say that it arrived
  coming_.push_back({pack, wide, range.length, {}});
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
    const uint64_t wanted = it->wanted_bytes;
    coming_.erase(it);
    if (bytes) {
      // A smaller one inside this one says nothing more.
      std::erase_if(windows_, [&](const Window& window) {
        const bool inside = window.pack == pack && window.start >= range.offset &&
                            window.range().end() <= range.offset + bytes->size();
        if (inside) bytes_ -= window.bytes.size();
        return inside;
      });
      windows_.push_front({pack, range.offset, *bytes, wanted});
      bytes_ += bytes->size();
      while (bytes_ > bytes_max_) {
        bytes_ -= windows_.back().bytes.size();
        note_end(windows_.back());
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
