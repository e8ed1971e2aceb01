// What leaves the cache when there is no room, what stays, and what people may say about that.
#include <algorithm>
#include <cerrno>

#include "cache/base/failpoint.h"
#include "cache/base/log.h"
#include "cache/engine.h"
#include "cache/format/records.h"

namespace cairn {

std::string Engine::pin_key(uint64_t inode) {
  return kPinPrefix + file_key(inode);
}

std::set<uint64_t> Engine::orphan_segments() const {
  std::set<uint64_t> orphans;
  {
    const std::lock_guard lock(state_mutex_);
    orphans = orphans_;
  }
  std::set<uint64_t> segments;
  for (const uint64_t inode : orphans) {
    const auto rows = live_.scan_extents(inode, 0, UINT64_MAX, SIZE_MAX);
    if (!rows) continue;
    for (const auto& row : *rows)
      for (const Extent& extent : row.extents)
        if (extent.has_ref() && extent.ref.kind == DataRef::Kind::kSegment)
          segments.insert(extent.ref.file);
  }
  return segments;
}

namespace {
// Nothing in it is needed: no record that is not settled refers to it, and none is about to.
bool may_go(const SegmentInfo& segment, Lsn settled, const std::set<uint64_t>& orphaned) {
  return !segment.open && !segment.held && segment.last_lsn <= settled &&
         !orphaned.contains(segment.number);
}
}  // namespace

bool Engine::make_room(uint64_t bytes) {
  // An append may begin a new segment, which is preallocated.
  const uint64_t wanted = bytes + Space::segment_bytes(space_->limit());
  if (space_->shortage(wanted) == 0) return true;
  // In this order: what is settled now and still holds data of a file that was removed while open
  // is already known as such.
  const Lsn settled = settled_;
  const std::set<uint64_t> orphaned = orphan_segments();
  const std::set<uint64_t> pinned = pinned_inodes();
  const std::lock_guard lock(eviction_mutex_);
  for (int round = 0; round < 2; ++round) {
    for (const SegmentInfo& segment : eviction_order()) {
      if (space_->shortage(wanted) == 0) return true;
      if (!may_go(segment, settled, orphaned) || kept_segments_.contains(segment.number)) continue;
      if (!keep_what_is_wanted(segment, pinned)) continue;
      if (!live_.drop_segment(segment.number)) continue;
      CAIRN_FAILPOINT("segment.evicted");
      if (!segments_->remove(segment.number)) continue;
    }
    // Only the segments that are being written to are left: end them.
    if (space_->shortage(wanted) == 0) return true;
    if (round == 0 && !segments_->seal()) break;
  }
  if (space_->shortage(wanted) == 0) return true;
  if (space_->disk_is_short(wanted))
    log_once_per(std::chrono::minutes(10), "disk",
                 "the disk under the cache has no more than its reserve left: writers wait until "
                 "more is in the store or something else frees space (--cache-reserve)");
  return false;
}

// What is not to stay, then oldest first; what was moved once, because it is read again and again,
// goes when it holds more than half of the cache, or when nothing else is left.
std::vector<SegmentInfo> Engine::eviction_order() const {
  std::vector<SegmentInfo> order = segments_->list();
  uint64_t kept = 0;
  for (const SegmentInfo& segment : order) kept += segment.kept ? segment.allocated_bytes : 0;
  if (kept <= space_->data_limit() / 2)
    std::stable_partition(order.begin(), order.end(),
                          [](const SegmentInfo& segment) { return !segment.kept; });
  std::stable_partition(order.begin(), order.end(),
                        [](const SegmentInfo& segment) { return segment.passing; });
  return order;
}

// Moves out of a segment what is pinned or hot, as long as that leaves something to be freed.
// False: most of it is pinned, it stays.
bool Engine::keep_what_is_wanted(const SegmentInfo& segment, const std::set<uint64_t>& pins) {
  const auto rows = live_.in_segment(segment.number);
  if (!rows) return true;
  std::vector<const LiveState::InSegment*> pinned;
  std::vector<const LiveState::InSegment*> hot;
  uint64_t budget = segment.used_bytes / 2;
  uint64_t pinned_bytes = 0;
  uint64_t kept_bytes = 0;
  for (const SegmentInfo& other : segments_->list())
    kept_bytes += other.kept ? other.used_bytes : 0;
  for (const auto& row : *rows) {
    if (pins.contains(row.inode)) {
      pinned.push_back(&row);
      pinned_bytes += row.row.length;
    } else if (!segment.passing && chunks_.is_hot(row.inode, row.chunk)) {
      hot.push_back(&row);
    }
  }
  if (pinned_bytes > budget) return false;
  for (const auto* row : pinned)
    if (!chunks_.move(*row)) return false;
  // While little is kept, all that is hot moves on: that frees nothing now, but it is not looked at
  // again before everything else has gone.
  if (!segment.kept && kept_bytes + segment.used_bytes < space_->data_limit() / 2)
    budget = segment.used_bytes;
  budget -= pinned_bytes;
  for (const auto* row : hot) {
    if (row->row.length > budget) break;
    if (!chunks_.move(*row)) break;
    budget -= row->row.length;
  }
  return true;
}

// ---- what people say

void Engine::load_pins() {
  const std::lock_guard lock(state_mutex_);
  for (const std::string& key : live_.state_keys(kPinPrefix)) {
    const uint64_t inode = get_be64(as_bytes(key).data() + std::string_view(kPinPrefix).size());
    pinned_.insert(inode);
    const auto value = live_.state(key);
    if (value && *value == kPinnedByRule) pinned_by_rule_.insert(inode);
  }
}

std::set<uint64_t> Engine::pinned_inodes() const {
  const std::lock_guard lock(state_mutex_);
  return pinned_;
}

bool Engine::is_pinned(uint64_t inode) const {
  const std::lock_guard lock(state_mutex_);
  return pinned_.contains(inode);
}

Status Engine::pin(uint64_t inode, uint64_t size, Need& need) {
  TRY(check_pinnable(inode, size, need));
  const bool was_pinned = is_pinned(inode);
  put_pin(inode, "1");
  const std::lock_guard lock(state_mutex_);
  pinned_by_rule_.erase(inode);  // now somebody said it
  if (!was_pinned && pinned_bytes_) *pinned_bytes_ += size;
  return {};
}

void Engine::put_pin(uint64_t inode, std::string_view why) {
  live_.put_state(pin_key(inode), std::string(why));
  const std::lock_guard lock(state_mutex_);
  pinned_.insert(inode);
}

Status Engine::check_pinnable(uint64_t inode, uint64_t size, Need& need) {
  const std::set<uint64_t> pinned = pinned_inodes();
  if (pinned.contains(inode)) return {};
  uint64_t total = size;
  for (const uint64_t other : pinned) {
    const auto value = get(inode_key(other), need);
    if (!value && value.error().sys_errno() != ESTALE) return tl::unexpected<Error>(value.error());
    if (!value || !*value) {  // removed since
      unpin(other);
      continue;
    }
    TRY_ASSIGN(const Buffer bytes, value_bytes(**value, need));
    TRY_ASSIGN(const InodeRecord record, InodeRecord::decode(bytes));
    total += record.size;
  }
  if (total > pinnable_bytes())
    return fail(Errc::kNoSpace, "with this file " + std::to_string(total) +
                                    " bytes would be pinned; a quarter of the cache, " +
                                    std::to_string(pinnable_bytes()) +
                                    " bytes, may be: give the mount a larger --cache-size");
  const std::lock_guard lock(state_mutex_);
  pinned_bytes_ = total - size;
  return {};
}

void Engine::unpin(uint64_t inode) {
  {
    const std::lock_guard lock(state_mutex_);
    pinned_by_rule_.erase(inode);
    if (pinned_.erase(inode) == 0) return;
  }
  live_.remove_state(pin_key(inode));
}

Status Engine::evict(uint64_t inode) {
  if (is_pinned(inode))
    return fail(Errc::kInvalid, "it is pinned; 'cairn unpin' lets it go", EBUSY);
  TRY(live_.drop_residents(inode));
  return drop_unused_segments();
}

// Those in which nothing is that anybody could still ask for: what was in them is overwritten,
// removed or evicted, or the process that made them died before it said what is in them.
Status Engine::drop_unused_segments() {
  const Lsn settled = settled_;
  const std::set<uint64_t> orphaned = orphan_segments();
  const std::lock_guard lock(eviction_mutex_);
  // Segments are not synced for clean content: a power cut may take one and leave its rows.
  TRY_ASSIGN(const std::vector<uint64_t> named, live_.named_segments());
  std::set<uint64_t> there;
  for (const SegmentInfo& segment : segments_->list()) there.insert(segment.number);
  for (const uint64_t segment : named)
    if (!there.contains(segment)) TRY(live_.drop_segment(segment));
  for (const SegmentInfo& segment : segments_->list()) {
    if (!may_go(segment, settled, orphaned) || kept_segments_.contains(segment.number)) continue;
    TRY_ASSIGN(const bool in_use, live_.is_in_use(segment.number));
    if (in_use) continue;
    TRY(live_.drop_segment(segment.number));
    TRY(segments_->remove(segment.number));
  }
  return {};
}

// ---- where a file stands

Result<FileStatus> Engine::file_status(uint64_t inode) const {
  constexpr size_t kRowsLookedAt = 4096;
  FileStatus status;
  TRY_ASSIGN(status.cached_bytes, live_.resident_bytes(inode));
  status.pinned = is_pinned(inode);
  const std::string prefix = ino_prefix(inode);
  Lsn newest = 0;
  TRY_ASSIGN(const auto rows, live_.scan_tree(prefix, prefix_end(prefix), kRowsLookedAt));
  const auto note = [&newest](Lsn lsn) {
    if (lsn != kKeptBackLsn) newest = std::max(newest, lsn);
  };
  for (const auto& row : rows) note(row.row.lsn);
  TRY_ASSIGN(const auto file, live_.file_state(inode));
  if (file) note(file->last_lsn);
  bool is_kept = false;
  {
    const std::lock_guard lock(kept_mutex_);
    is_kept = kept_.contains(inode);
  }
  const PublishedState published = remote_->published();
  status.commit = published.seq;
  if (is_kept) status.state = FileStatus::State::kHeld;
  if (newest <= published_) return status;
  if (!is_kept) status.state = FileStatus::State::kQueued;
  if (journal_ && journal_->durable() < newest) status.state = FileStatus::State::kLocal;
  if (is_kept) return status;
  const std::lock_guard lock(state_mutex_);
  if (uploading_.lsn < newest) return status;
  status.state = FileStatus::State::kUploading;
  const uint64_t sent = uploaded_bytes_ - uploading_.sent_before;
  if (uploading_.bytes > 0)
    status.percent = static_cast<unsigned>(std::min<uint64_t>(99, sent * 100 / uploading_.bytes));
  return status;
}

}  // namespace cairn
