#include "cache/pack_windows.h"

#include <algorithm>
#include <cstring>

namespace cairn {

namespace {
constexpr size_t kMaxHabits = 1024;  // packs; forgetting one costs a few smaller windows
constexpr uint64_t kGrowthFound = 4;         // a window grows by this factor after finds
constexpr uint64_t kGrowthMissed = 2;        // and by this one otherwise
constexpr unsigned kRisingFinds = 3;         // of who goes through a pack in order
constexpr uint64_t kFollowedBytes = 256ULL << 10;  // smaller windows are no sign of that
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
  // A block whose beginning is here waits for the window that brings its end.
  BlockPlace rest = place;
  const auto window = window_at(place.pack, place.offset);
  if (window != windows_.end() && window->range().end() < place.offset + place.length) {
    rest.offset = window->range().end();
    rest.length -= static_cast<uint32_t>(rest.offset - place.offset);
  }
  const auto coming = std::find_if(coming_.begin(), coming_.end(), [&](const Coming& each) {
    return each.pack == place.pack && holds(each.range, rest);
  });
  if (coming == coming_.end()) return Look::kMiss;
  coming->waiters.push_back(std::move(waiter));
  return Look::kComing;
}

std::optional<ByteRange> PackWindows::ahead(const BlockPlace& found) {
  const std::lock_guard lock(mutex_);
  const auto window = window_at(found.pack, found.offset);
  if (window == windows_.end()) return std::nullopt;
  window->rising = found.offset >= window->last ? window->rising + 1 : 0;
  window->last = found.offset;
  const ByteRange here = window->range();
  const bool is_late = found.offset - here.offset >= here.length / 2;
  if (window->is_followed || window->rising < kRisingFinds || !is_late ||
      here.length < kFollowedBytes)
    return std::nullopt;
  window->is_followed = true;
  ByteRange next{here.end(), next_window_bytes(found.pack)};
  const auto clip = [&next](const ByteRange& there) {
    if (there.end() <= next.offset || there.offset >= next.end()) return;
    next.length = there.offset > next.offset ? there.offset - next.offset : 0;
  };
  for (const Window& each : windows_)
    if (each.pack == found.pack) clip(each.range());
  for (const Coming& each : coming_)
    if (each.pack == found.pack) clip(each.range);
  if (next.length == 0) return std::nullopt;
  coming_.push_back({found.pack, next, {}});
  return next;
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
    if (bytes && !bytes->empty()) {
      // A smaller one inside this one is of no more use.
      std::erase_if(windows_, [&](const Window& window) {
        const bool inside = window.pack == pack && window.start >= range.offset &&
                            window.range().end() <= range.offset + bytes->size();
        if (inside) bytes_ -= window.bytes.size();
        return inside;
      });
      Window window{pack, range.offset, *bytes};
      window.is_followed = bytes->size() < range.length;  // behind it there is nothing
      windows_.push_front(std::move(window));
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
