// Moving: what lives in packs that are to go is written anew, and they are condemned. See
// collector.h.
#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "cache/base/failpoint.h"
#include "cache/base/log.h"
#include "cache/collector.h"
#include "cache/commit_parts.h"
#include "cache/get_limiter.h"
#include "cache/segment_index.h"
#include "cache/store_keys.h"

namespace cairn {
namespace {
constexpr uint64_t kReadBytes = 4 << 20;  // of blocks at once
constexpr size_t kReadBlocks = 512;
constexpr size_t kLocateAtOnce = 1024;
constexpr uint32_t kIndexReads = 8;  // under way at once
constexpr uint64_t kIndexReadBytes = 4 << 20;
constexpr uint64_t kIndexPagesBytes = 4 << 20;  // kept
}  // namespace

Status Collector::move() {
  const auto before = remote_.snapshot();
  std::set<Digest> forget;  // gone for good
  size_t deleted_listed = 0;
  for (const CondemnedPack& pack : before->commit.record->condemned_packs) {
    if (pack.size != 0) continue;
    if (covered_.contains(pack.digest))
      ++deleted_listed;
    else if (!packs_.contains(pack.digest))
      forget.insert(pack.digest);
  }
  CollectionStep last;
  last.forget = std::move(forget);
  last.rewrite_index = deleted_listed + due_.size() >= remote_.options.index.deleted_packs_max;
  last.rewrite_metadata = metadata_is_worth_rewriting();
  last.metadata_live_bytes = metadata_live_bytes_;
  if (victims_.empty() && due_.empty() && last.forget.empty() && !last.rewrite_index &&
      !last.rewrite_metadata)
    return {};

  leaving_ = due_;
  leaving_.insert(leaving_.end(), victims_.begin(), victims_.end());
  // From now on nothing new refers to a block in a pack that is to go. A publish that runs, or one
  // whose commit has an unknown outcome, may have done so before; it is waited for and settled, and
  // what it published is part of the mark that counts.
  step("condemning");
  remote_.packs->set_suspects(leaving_);
  {
    TRY_ASSIGN(const auto waited_for_publish, remote_.hold_still(context_));
    TRY(settle_commit(remote_, context_));
  }
  CAIRN_FAILPOINT("collect.condemning");
  TRY(read_leaving());
  TRY(mark_leaving());
  TRY(find_elsewhere());
  CAIRN_FAILPOINT("collect.marked");
  std::erase_if(blocks_, [](const Block& block) { return !block.live || block.elsewhere; });
  std::sort(blocks_.begin(), blocks_.end(), [](const Block& a, const Block& b) {
    return a.pack != b.pack ? a.pack < b.pack : a.offset < b.offset;
  });

  // What lives in packs that are due must be somewhere else before anything says they are gone.
  step("moving");
  size_t at = due_.size();
  CollectionStep first;
  OpenPack open(PackKind::kData, remote_.parts.rng.next());
  TRY(copy(0, at, open, first.moved));
  for (const Digest& pack : due_) first.deleted.insert(pack);
  while (at < leaving_.size()) {
    CollectionStep round = std::exchange(first, CollectionStep{});
    const uint64_t moved_before = report_.moved_bytes;
    do {
      TRY(copy(at, at + 1, open, round.moved));
      round.condemn.push_back({leaving_[at], packs_.at(leaving_[at]).size, 0});
      ++at;
    } while (at < leaving_.size() && report_.moved_bytes - moved_before < options_.round_bytes);
    TRY(put(open, round.moved));
    if (at == leaving_.size()) {
      last.moved = std::move(round.moved);
      last.condemn = std::move(round.condemn);
      last.deleted = std::move(round.deleted);
      return commit(std::move(last));
    }
    TRY(commit(std::move(round)));
    CAIRN_FAILPOINT("collect.round_committed");
  }
  TRY(put(open, first.moved));
  last.moved = std::move(first.moved);
  last.deleted = std::move(first.deleted);
  return commit(std::move(last));
}

Status Collector::read_leaving() {
  for (uint32_t i = 0; i < leaving_.size(); ++i) {
    const auto tail = await<PackTail>([&](Callback<PackTail> done) {
      remote_.packs->read_tail({.digest = leaving_[i]}, context_, std::move(done));
    });
    // Only when neither the list nor the pack itself says that it is there.
    if (!tail && tail.error().code() == Errc::kNotFound && !packs_.contains(leaving_[i])) continue;
    if (!tail) return tl::unexpected<Error>(tail.error());
    for (uint32_t entry = 0; entry < tail->size(); ++entry) {
      const PackEntry at = tail->entry(entry);
      blocks_.push_back({at.digest, i, at.offset, at.length, false, false});
    }
  }
  std::sort(blocks_.begin(), blocks_.end(),
            [](const Block& a, const Block& b) { return a.digest < b.digest; });
  return {};
}

// The mark that counts: of the tree that is the newest now, and the snapshots that are there now.
Status Collector::mark_leaving() {
  if (blocks_.empty()) return {};
  step("marking again");
  TRY(add_snapshots());
  const Digest root = remote_.snapshot()->state.root.digest();
  return walk(root, [this](const Digest& leaf) {
    auto block = std::lower_bound(
        blocks_.begin(), blocks_.end(), leaf,
        [](const Block& one, const Digest& wanted) { return one.digest < wanted; });
    // One copy of it is enough.
    if (block != blocks_.end() && block->digest == leaf) block->live = true;
  });
}

// Blocks that another pack has, which stays, need not be moved. Its own tail must say so, and a
// reader must be led to it: it is young, or it is the one that the index names. (Where a block is
// twice the index may name only what is to go.)
Status Collector::find_elsewhere() {
  const auto shown = remote_.snapshot();
  std::set<Digest> leaving(leaving_.begin(), leaving_.end());
  for (const CondemnedPack& pack : shown->commit.record->condemned_packs)
    leaving.insert(pack.digest);
  std::set<Digest> young;
  for (const CommitPack& pack : shown->commit.record->young_packs)
    if (!leaving.contains(pack.digest)) young.insert(pack.digest);
  std::vector<Block*> live;
  for (Block& block : blocks_)
    if (block.live) live.push_back(&block);
  // The index as the head names it, and not what this mount knows besides.
  const auto index = SegmentIndex::make(
      std::make_shared<GetLimiter>(remote_.parts.store, kIndexReads, kIndexReadBytes),
      kIndexPagesBytes);
  index->set_segments(index_segments(*shown->commit.record));
  const std::span<Block* const> all(live);
  for (size_t from = 0; from < all.size(); from += kLocateAtOnce)
    TRY(find_elsewhere(all.subspan(from, std::min(all.size() - from, kLocateAtOnce)), *index, young,
                       leaving));
  return {};
}

Status Collector::find_elsewhere(std::span<Block* const> live, SegmentIndex& index,
                                 const std::set<Digest>& young, const std::set<Digest>& leaving) {
  std::vector<Digest> digests;
  for (const Block* block : live) digests.push_back(block->digest);
  TRY_ASSIGN(const auto places,
             await<std::vector<BlockPlace>>([&](Callback<std::vector<BlockPlace>> done) {
               remote_.packs->locate(digests, PackKind::kData, context_, std::move(done));
             }));
  using Indexed = std::vector<std::optional<BlockPlace>>;
  TRY_ASSIGN(const auto indexed, await<Indexed>([&](Callback<Indexed> done) {
               index.find(digests, context_, std::move(done));
             }));
  for (size_t i = 0; i < live.size(); ++i) {
    Digest pack = places[i].pack;
    if (!young.contains(pack)) {
      if (!indexed[i] || leaving.contains(indexed[i]->pack)) continue;
      pack = indexed[i]->pack;
    }
    if (!packs_.contains(pack)) continue;
    TRY_ASSIGN(const PackTail tail, await<PackTail>([&](Callback<PackTail> done) {
                 remote_.packs->read_tail({.digest = pack}, context_, std::move(done));
               }));
    live[i]->elsewhere = tail.kind() == PackKind::kData && tail.find(live[i]->digest).has_value();
  }
  return {};
}

// Copies what lives in the packs [from, to) of leaving_, in the order in which it lies there.
Status Collector::copy(size_t from, size_t to, OpenPack& pack, std::vector<PackName>& moved) {
  const auto behind = [](const Block& block, size_t pack_number) {
    return block.pack < pack_number;
  };
  const auto first = std::lower_bound(blocks_.begin(), blocks_.end(), from, behind);
  const std::span<const Block> wanted(first, std::lower_bound(first, blocks_.end(), to, behind));
  for (size_t at = 0; at < wanted.size();) {
    if (context_.cancel.cancelled()) return fail(Errc::kCancelled, "the collection was stopped");
    std::vector<BlockWant> wants;
    uint64_t bytes = 0;
    const size_t start = at;
    for (; at < wanted.size() && wants.size() < kReadBlocks && bytes < kReadBytes; ++at) {
      const Block& block = wanted[at];
      wants.push_back({block.digest, BlockPlace{leaving_[block.pack], block.offset, block.length}});
      bytes += block.length;
    }
    TRY_ASSIGN(auto read, await<std::vector<Buffer>>([&](Callback<std::vector<Buffer>> done) {
                 remote_.packs->read_blocks(std::move(wants), PackKind::kData, context_, {},
                                            std::move(done));
               }));
    for (size_t i = start; i < at; ++i) {
      const Buffer& block = read[i - start];
      if (!pack.fits(block.size())) TRY(put(pack, moved));
      TRY(pack.add(Cid::from_digest(Codec::kRaw, wanted[i].digest), block));
      report_.moved_bytes += block.size();
      if (pack.bytes() >= remote_.options.pack_bytes) TRY(put(pack, moved));
    }
  }
  return {};
}

// Not through the pack store: nothing may refer to the copy before a commit names it.
Status Collector::put(OpenPack& pack, std::vector<PackName>& moved) {
  if (pack.empty()) return {};
  TRY_ASSIGN(SealedPack sealed, pack.seal());
  const PackName name = name_of(sealed.tail);
  const Context request =
      request_context(remote_.parts.clock, context_, remote_.options.io_timeout, name.size,
                      PackUploader::Options{}.slowest_bytes_per_second);
  TRY(put_sync(remote_.parts.store, pack_key(name.digest), std::move(sealed.body),
               PutCondition::kAlways, request));
  CAIRN_FAILPOINT("collect.copy_sent");
  host_.progressed();
  moved.push_back(name);
  return {};
}

Status Collector::commit(CollectionStep step_made) {
  step("committing");
  TRY(commit_collection(remote_, port_, host_, step_made, context_));
  CAIRN_FAILPOINT("collect.committed");
  return {};
}

}  // namespace cairn
