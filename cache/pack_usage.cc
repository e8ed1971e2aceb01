#include "cache/pack_usage.h"

#include <algorithm>
#include <utility>

#include "cache/format/index.h"
#include "cache/store_keys.h"
#include "cache/store_source.h"

namespace cairn {
namespace {
constexpr uint64_t kBuckets = 1 << 16;
constexpr uint64_t kRangesMax = 4096;

uint32_t bucket_of(const Digest& digest) {
  return static_cast<uint32_t>(digest.bytes[0]) << 8 | static_cast<uint32_t>(digest.bytes[1]);
}
}  // namespace

bool PackUsage::Range::holds(const Digest& digest) const {
  const uint32_t bucket = bucket_of(digest);
  return bucket >= from && bucket < to;
}

Status PackUsage::run() {
  const uint64_t ranges = std::clamp<uint64_t>(
      (in_.leaves + in_.digests_at_once - 1) / in_.digests_at_once, 1, kRangesMax);
  for (uint64_t i = 0; i < ranges; ++i) {
    const Range range{static_cast<uint32_t>(i * kBuckets / ranges),
                      static_cast<uint32_t>((i + 1) * kBuckets / ranges)};
    TRY(collect(range));
    taken_.assign(live_.size(), false);
    TRY(read_young());
    for (auto segment = in_.segments.rbegin(); segment != in_.segments.rend(); ++segment)
      TRY(read_segment(*segment));
    if (std::count(taken_.begin(), taken_.end(), false) > 0) TRY(find_in_condemned());
    not_found_ += static_cast<uint64_t>(std::count(taken_.begin(), taken_.end(), false));
  }
  return {};
}

Status PackUsage::collect(const Range& range) {
  live_.clear();
  size_t squeeze_at = static_cast<size_t>(in_.digests_at_once);
  TRY(in_.walk([&](const Digest& leaf) {
    if (!range.holds(leaf)) return;
    live_.push_back(leaf);
    if (live_.size() < squeeze_at) return;
    squeeze();
    squeeze_at = std::max(squeeze_at, live_.size() * 2);
  }));
  squeeze();
  return {};
}

void PackUsage::squeeze() {
  std::sort(live_.begin(), live_.end());
  live_.erase(std::unique(live_.begin(), live_.end()), live_.end());
}

void PackUsage::take(const Digest& digest, const Digest& pack, uint32_t length) {
  const auto it = std::lower_bound(live_.begin(), live_.end(), digest);
  if (it == live_.end() || *it != digest) return;
  const auto at = static_cast<size_t>(it - live_.begin());
  if (taken_[at]) return;
  taken_[at] = true;
  PackUse& use = packs_[pack];
  use.live_bytes += length;
  ++use.live_blocks;
  live_bytes_ += length;
  ++live_blocks_;
}

// A snapshot of an older commit, or a file that was removed while it is open, may need what is
// condemned: it is moved before that is deleted. A store may forget an object for a moment, and
// bytes may break on the way: only what is so in every look is believed.
Status PackUsage::find_in_condemned() {
  std::vector<Digest> packs = in_.condemned;
  for (unsigned looks = 1;; ++looks) {
    TRY_ASSIGN(packs, look_in_condemned(packs));
    const bool all_found = std::count(taken_.begin(), taken_.end(), false) == 0;
    if (all_found || packs.empty()) return {};
    if (looks >= looks_max_) break;
    // Where else they may be does not matter here, but for the pause.
    (void)await<void>(
        [&](Callback<void> done) { remote_.packs->ask_again(looks, std::move(done)); });
  }
  // What was so in every look is not waited for again in each range of digests.
  looks_max_ = 1;
  return {};
}

// Gives those that could not be read.
Result<std::vector<Digest>> PackUsage::look_in_condemned(const std::vector<Digest>& packs) {
  std::vector<Digest> unread;
  for (const Digest& pack : packs) {
    const auto tail = await<PackTail>([&](Callback<PackTail> done) {
      remote_.packs->read_tail({.digest = pack}, context_, std::move(done));
    });
    if (!tail) {
      const Errc code = tail.error().code();
      if (code != Errc::kNotFound && code != Errc::kCorruption)
        return tl::unexpected<Error>(tail.error());
      unread.push_back(pack);
      continue;
    }
    for (size_t at = 0; at < live_.size(); ++at)
      taken_[at] = taken_[at] || tail->find(live_[at]).has_value();
  }
  return unread;
}

Status PackUsage::read_young() {
  for (auto pack = in_.young.rbegin(); pack != in_.young.rend(); ++pack) {
    if (in_.leaving.contains(pack->digest)) continue;
    TRY_ASSIGN(const PackTail tail, await<PackTail>([&](Callback<PackTail> done) {
                 remote_.packs->read_tail(*pack, context_, std::move(done));
               }));
    for (uint32_t i = 0; i < tail.size(); ++i) {
      const PackEntry entry = tail.entry(i);
      take(entry.digest, pack->digest, entry.length);
    }
  }
  return {};
}

Status PackUsage::read_segment(const SegmentName& segment) {
  const std::vector<Digest>& packs = in_.packs_of(segment.digest);
  TRY_ASSIGN(StoreSource source,
             StoreSource::open(remote_.parts.store, index_key(segment.digest), context_));
  TRY_ASSIGN(const IndexSegmentView view, IndexSegmentView::open(source));
  const auto entries = make_index_source(view);
  while (true) {
    TRY_ASSIGN(const auto entry, entries->next());
    if (!entry) return {};
    if (entry->pack >= packs.size())
      return fail(Errc::kCorruption, index_key(segment.digest) + " names a pack that it has not");
    if (!in_.leaving.contains(packs[entry->pack]))
      take(entry->digest, packs[entry->pack], entry->length);
  }
}

}  // namespace cairn
