// What becomes of the content of files that are open: ContentPolicy.
#include <algorithm>

#include "cache/base/log.h"
#include "cache/engine.h"

namespace cairn {

namespace {
constexpr unsigned kWholesAtOnce = 2;
constexpr size_t kWholesWaiting = 10'000;
constexpr uint64_t kWholePart = 4ULL << 20;
constexpr unsigned kWholeFailures = 3;
constexpr unsigned kPartTries = 32;  // more than it has chunks
constexpr Duration kWholePause = std::chrono::milliseconds(50);
constexpr Duration kPinsPause = std::chrono::seconds(10);
}  // namespace

Status Engine::opened(uint64_t inode, uint64_t size, const ContentPolicy& policy, Need& need) {
  bool unpins = false;
  {
    const std::lock_guard lock(state_mutex_);
    const bool passes = !policy.keep && !policy.pin && !pinned_.contains(inode);
    if (passes) passing_.insert(inode);
    if (!passes) passing_.erase(inode);
    unpins = !policy.pin && pinned_by_rule_.contains(inode);
  }
  if (unpins) unpin(inode);
  if (policy.pin) TRY(pin_by_rule(inode, size, need));
  if (policy.whole && (policy.keep || policy.pin)) fetch_whole(inode, size);
  const std::lock_guard lock(state_mutex_);
  open_.insert(inode);
  return {};
}

bool Engine::closed(uint64_t inode) {
  const std::lock_guard lock(state_mutex_);
  open_.erase(inode);
  return passing_.erase(inode) > 0 && !pinned_.contains(inode);
}

bool Engine::is_in_use(uint64_t inode) const {
  const std::lock_guard lock(state_mutex_);
  return open_.contains(inode) || pinned_.contains(inode);
}

void Engine::drop_passing(uint64_t inode) {
  if (const Status dropped = try_drop_passing(inode); !dropped)
    log_warn("what was read of a file stays in the cache: {}", dropped.error().message());
}

SegmentClass Engine::class_of(uint64_t inode) const {
  const std::lock_guard lock(state_mutex_);
  return passing_.contains(inode) ? SegmentClass::kPassing : SegmentClass::kClean;
}

Status Engine::try_drop_passing(uint64_t inode) {
  TRY(live_.drop_residents(inode));
  const std::lock_guard lock(eviction_mutex_);
  for (const SegmentInfo& segment : segments_->list()) {
    if (!segment.passing || segment.open || segment.held || segment.last_lsn > settled_) continue;
    TRY_ASSIGN(const bool in_use, live_.is_in_use(segment.number));
    if (in_use) continue;
    TRY(segments_->remove(segment.number));
  }
  return {};
}

// As a person's pin; that there is no room for it keeps nobody from opening the file. All that is
// pinned is only counted anew when it seems to be too much, and then not at each opening.
Status Engine::pin_by_rule(uint64_t inode, uint64_t size, Need& need) {
  bool fits = false;
  {
    const std::lock_guard lock(state_mutex_);
    if (pinned_.contains(inode) || clock_.now() < pins_full_until_) return {};
    fits = pinned_bytes_ && *pinned_bytes_ + size <= pinnable_bytes();
  }
  if (!fits) {
    const Status checked = check_pinnable(inode, size, need);
    if (!checked && checked.error().code() != Errc::kNoSpace) return checked;
    if (!checked) {
      log_once_per(std::chrono::minutes(10), "pins by rule",
                   "--filter-pin: " + checked.error().message());
      const std::lock_guard lock(state_mutex_);
      pins_full_until_ = clock_.now() + kPinsPause;
      return {};
    }
  }
  put_pin(inode, kPinnedByRule);
  const std::lock_guard lock(state_mutex_);
  pinned_by_rule_.insert(inode);
  if (pinned_bytes_) *pinned_bytes_ += size;
  return {};
}

// ---- whole files: some at a time, a part after the other

void Engine::fetch_whole(uint64_t inode, uint64_t size) {
  if (size > space_->data_limit() / 2) {
    log_once_per(std::chrono::minutes(10), "whole file",
                 "--filter-prefetch: a file of more than half of the cache is not fetched whole");
    return;
  }
  {
    const std::lock_guard lock(state_mutex_);
    const bool waits = std::any_of(wholes_.begin(), wholes_.end(),
                                   [inode](const Whole& each) { return each.inode == inode; });
    if (waits || wholes_.size() >= kWholesWaiting) return;
    wholes_.push_back({inode, size, 0, 0, 0});
  }
  start_wholes();
}

void Engine::start_wholes() {
  const std::lock_guard lock(state_mutex_);
  while (!stopping_ && wholes_running_ < kWholesAtOnce && !wholes_.empty()) {
    ++wholes_running_;
    ++wholes_paused_;
    executor_.submit([this, whole = wholes_.front()] { go_on(whole); });
    wholes_.pop_front();
  }
}

void Engine::go_on(Whole whole) {
  bool over = false;
  bool pauses = false;
  while (!over && !pauses) {
    {
      const std::lock_guard lock(state_mutex_);
      over = stopping_;
    }
    over = over || whole.offset >= whole.size || whole.failures >= kWholeFailures ||
           !make_room(kWholePart);
    if (over) break;
    const uint64_t length = std::min(kWholePart, whole.size - whole.offset);
    const auto ahead =
        ask_ahead(whole.inode, std::nullopt, whole.offset, length, [this, whole](Status done) {
          Whole next = whole;
          next.failures = done ? 0 : next.failures + 1;
          go_on_later(next, done ? Duration() : kWholePause);
        });
    if (ahead.asked) break;                // the part is looked at again when that is here
    pauses = ahead.until <= whole.offset;  // too much is on its way for others
    whole.offset = ahead.until;
    whole.tries = 0;
  }
  if (over) end_whole();
  if (pauses) go_on_later(whole, kWholePause);
  const std::lock_guard lock(state_mutex_);
  --wholes_paused_;
  idle_.notify_all();
}

// As a task: not on the stack of who brought the part before.
void Engine::go_on_later(Whole whole, Duration pause) {
  bool stops = false;
  {
    const std::lock_guard lock(state_mutex_);
    stops = stopping_;
    if (!stops) ++wholes_paused_;
  }
  if (stops) return end_whole();
  // What does not stay is not asked for for ever.
  if (++whole.tries > kPartTries) {
    whole.offset += kWholePart;
    whole.tries = 0;
  }
  executor_.submit_at(clock_.now() + pause, [this, whole] { go_on(whole); });
}

void Engine::end_whole() {
  {
    const std::lock_guard lock(state_mutex_);
    --wholes_running_;
  }
  start_wholes();
}

}  // namespace cairn
