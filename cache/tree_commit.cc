// Publishing, the last steps: metadata tiers, block index, commit. See tree_publish.h.
#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "cache/base/failpoint.h"
#include "cache/base/log.h"
#include "cache/commit_parts.h"
#include "cache/index_writer.h"
#include "cache/meta_tiers.h"
#include "cache/store_keys.h"
#include "cache/tree_publish.h"

namespace cairn {
namespace {

// What a tree takes for an inode with a name, and for a chunk of a large file, at the most that is
// usual. Only used to notice that most of what the metadata packs hold must be dead.
constexpr uint64_t kInodeBytes = 300;
constexpr uint64_t kChunkBytes = 60;

uint64_t shifted(uint64_t value, int64_t change) {
  if (change >= 0) return value + static_cast<uint64_t>(change);
  return value - std::min(value, uint64_t{0} - static_cast<uint64_t>(change));
}

}  // namespace

// ---- metadata

Status TreePublisher::write_metadata() {
  const std::vector<TieredPack> old = tiered_packs(*before_->commit.record);
  metadata_.keep = old.size();
  if (meta_.empty()) return {};
  MetadataState state;
  state.packs = old;
  for (const PackName& pack : meta_.packs()) state.fresh_bytes += pack.size;
  state.fresh_bytes += meta_.open_bytes();
  state.limits = remote_.options.metadata;
  const CommitRecord::Totals& totals = before_->commit.record->totals;
  const uint64_t inodes = shifted(totals.inodes, inodes_change_);
  // Known since the tree was last rewritten in this life; else guessed, on the large side.
  state.live_bytes =
      inodes * kInodeBytes + totals.live_bytes / remote_.params.chunk_bytes * kChunkBytes;
  if (remote_.metadata_live_bytes != 0) {
    remote_.metadata_live_bytes = std::max<uint64_t>(
        1,
        shifted(remote_.metadata_live_bytes, inodes_change_ * static_cast<int64_t>(kInodeBytes)));
    state.live_bytes = remote_.metadata_live_bytes;
  }
  metadata_ = plan_metadata(state);
  if (metadata_.keep < old.size()) TRY(merge_metadata(old));
  uint64_t kept_bytes = 0;
  for (size_t i = 0; i < metadata_.keep; ++i) kept_bytes += old[i].name.size;
  if (kept_bytes > remote_.options.prefetch_bytes) TRY(add_first_ways());
  return meta_.flush();
}

// What every mount reads first. Of a large tree a mount brings the pack of the root, and the way
// from there to these keys would lie in as many packs as there were commits that changed it.
Status TreePublisher::add_first_ways() {
  TRY(add_way(superblock_key()));
  return add_way(inode_key(kRootIno));
}

// Adds the nodes from the root to the key, and its value, where this commit has not written them.
Status TreePublisher::add_way(std::string_view key) {
  return remote_.with_fetch(context_, [&](Missing& missing) -> Status {
    StagedNodes reader(meta_, *remote_.blocks, *remote_.nodes, remote_.params.fanout_bits, missing);
    const auto add = [&](const Cid& cid) -> Status {
      if (meta_.has(cid.digest())) return {};
      TRY_ASSIGN(Buffer bytes, reader.get(cid.digest()));
      return meta_.add(cid, std::move(bytes), /*upper=*/true);
    };
    MstStepper stepper(reader, root_);
    while (stepper.at() == MstStepper::At::kSubtree) {
      TRY(add(Cid::from_digest(Codec::kDagCbor, stepper.subtree())));
      TRY(stepper.enter_at(key));
    }
    const bool found = stepper.at() == MstStepper::At::kEntry && stepper.key() == key;
    return found && !stepper.value().is_identity() ? add(stepper.value()) : Status();
  });
}

// Of a collection: its commit changes nothing in the tree.
Status TreePublisher::rewrite_metadata() {
  const std::vector<TieredPack> old = tiered_packs(*before_->commit.record);
  metadata_.keep = old.size();
  if (!collection_->rewrite_metadata) return {};
  MetadataState state;
  state.packs = old;
  state.live_bytes = std::max<uint64_t>(1, collection_->metadata_live_bytes);
  state.limits = remote_.options.metadata;
  metadata_ = plan_rewrite(state);
  TRY(merge_metadata(old));
  return meta_.flush();
}

Status TreePublisher::merge_metadata(const std::vector<TieredPack>& old) {
  const bool everything = metadata_.keep == 0;
  CAIRN_FAILPOINT("tiers.planned");
  std::vector<PackName> merged;
  for (size_t i = metadata_.keep; i < old.size(); ++i) merged.push_back(old[i].name);
  TRY(await<void>(
      [&](Callback<void> done) { remote_.blocks->prefetch(merged, context_, std::move(done)); }));
  CAIRN_FAILPOINT("tiers.fetched");
  std::vector<PackTail> tails;
  for (const PackName& pack : merged) {
    if (everything) break;
    TRY_ASSIGN(auto tail, await<PackTail>([&](Callback<PackTail> done) {
                 remote_.packs->read_tail(pack, context_, std::move(done));
               }));
    tails.push_back(std::move(tail));
  }
  const auto fresh = meta_.take_open();
  MetaMerger merger(meta_, remote_.params.fanout_bits, fresh, tails, everything,
                    [&](const Digest& digest) {
                      return remote_.with_fetch(context_, [&](Missing& missing) {
                        StagedNodes reader(meta_, *remote_.blocks, *remote_.nodes,
                                           remote_.params.fanout_bits, missing);
                        return reader.get(digest);
                      });
                    });
  TRY(merger.run(root_));
  if (everything) live_metadata_bytes_ = merger.bytes();
  CAIRN_FAILPOINT("tiers.merged");
  return {};
}

// ---- index

// Beside the last packs, whose tails say all that it needs. Nobody reads it before the commit.
Status TreePublisher::write_index() {
  const CommitRecord& before = *before_->commit.record;
  std::vector<PackName> young = young_packs(before);
  for (const PackName& pack : remote_.unnamed_packs) {
    if (pack.kind == PackKind::kData) young.push_back(pack);
  }
  std::set<Digest> condemned;
  for (const CondemnedPack& pack : before.condemned_packs) condemned.insert(pack.digest);
  if (collection_ != nullptr) {
    young.insert(young.end(), collection_->moved.begin(), collection_->moved.end());
    for (const CondemnedPack& pack : collection_->condemn) condemned.insert(pack.digest);
    std::erase_if(young, [&](const PackName& pack) { return condemned.contains(pack.digest); });
  }
  for (const PackTail& tail : uploader_.started()) young.push_back(name_of(tail));
  young_ = young;
  // Packs that a collection condemns in a later round get into no segment: it moves nothing that
  // another pack has, which the segment would hide. Asked once: the collection may end meanwhile.
  std::vector<PackName> leaving;
  std::erase_if(young, [&](const PackName& pack) {
    if (!remote_.packs->leaves(pack.digest)) return false;
    leaving.push_back(pack);
    return true;
  });
  segments_ = index_segments(before);
  if (collection_ != nullptr && collection_->index) {
    segments_ = *collection_->index;
    return {};
  }
  IndexStep step = next_index_step(young, segments_, remote_.options.index);
  const bool anew = collection_ != nullptr && collection_->rewrite_index && !segments_.empty();
  if (anew) step = {young.size(), 0};
  if (step.packs == 0 && !anew) return {};
  IndexWriter writer(remote_.parts.store, *remote_.packs, remote_.parts.env, remote_.parts.clock,
                     {remote_.options.metadata_dir, remote_.options.io_timeout}, context_);
  auto written =
      writer.write(young, uploader_.started(), std::span(segments_).subspan(step.segments_from),
                   [&](const Digest& pack) { return !condemned.contains(pack); });
  if (!written &&
      (written.error().code() == Errc::kNoSpace || written.error().code() == Errc::kIo)) {
    // A full disk must not keep what is waiting for the store from getting there.
    log_warn("no index segment could be written: {}", written.error().message());
    return {};
  }
  if (!written) return tl::unexpected<Error>(std::move(written).error());
  segments_.resize(step.segments_from);
  if (written->entries > 0) segments_.push_back(*written);
  young_ = std::move(leaving);
  return {};
}

// ---- commit

void TreePublisher::change_condemned(CommitRecord& next) const {
  std::erase_if(next.condemned_packs, [&](const CondemnedPack& pack) {
    return collection_->forget.contains(pack.digest);
  });
  for (CondemnedPack& pack : next.condemned_packs)
    if (collection_->deleted.contains(pack.digest)) pack.size = 0;
  for (CondemnedPack pack : collection_->condemn) {
    pack.since = next.seq;
    next.condemned_packs.push_back(pack);
  }
}

Result<CommitRecord> TreePublisher::record() {
  const CommitRecord& before = *before_->commit.record;
  CommitRecord next =
      next_record(before_->commit, remote_.parts.rng, remote_.parts.clock.wall_ns());
  next.writer.lsn = batch_.lsn;
  next.writer.open = !batch_.close;
  next.root = Cid::from_digest(Codec::kDagCbor, root_);
  // Stored: what is new, without the metadata packs that were rewritten.
  uint64_t stored = before.totals.stored_bytes;
  for (size_t i = metadata_.keep; i < before.metadata_packs.size(); ++i)
    stored -= std::min(stored, before.metadata_packs[i].size);
  next.metadata_packs.resize(metadata_.keep);
  for (const PackName& pack : meta_.packs()) {
    next.metadata_packs.push_back(commit_pack(pack, metadata_.tier));
    stored += pack.size;
  }
  next.young_packs.clear();
  for (const PackName& pack : young_) next.young_packs.push_back(commit_pack(pack));
  next.index_segments.clear();
  for (const SegmentName& segment : segments_)
    next.index_segments.push_back(commit_segment(segment));
  for (const PackName& pack : remote_.unnamed_packs) {
    if (pack.kind == PackKind::kData) stored += pack.size;
  }
  if (collection_ != nullptr) {
    for (const PackName& pack : collection_->moved) stored += pack.size;
    for (const CondemnedPack& pack : collection_->condemn)
      stored -= std::min(stored, pack.size);
    change_condemned(next);
  }
  next.totals.stored_bytes = stored;
  next.totals.live_bytes = shifted(before.totals.live_bytes, live_bytes_change_);
  next.totals.inodes = shifted(before.totals.inodes, inodes_change_);
  CommitRecord::Slot& slot = next.slots[next.writer.slot];
  slot.cache_id = next.writer.cache_id;
  for (const uint32_t group : batch_.groups)
    slot.highest_group = std::max(slot.highest_group, group);
  if (next.root != before.root || !meta_.packs().empty()) {
    next.root_place.reset();
    auto places = await<std::vector<BlockPlace>>([&](Callback<std::vector<BlockPlace>> done) {
      remote_.packs->locate({root_}, PackKind::kMeta, context_, std::move(done));
    });
    if (places && places->size() == 1)  // only a hint
      next.root_place =
          CommitRecord::RootPlace{(*places)[0].pack, (*places)[0].offset, (*places)[0].length};
  }
  return next;
}

namespace {
// Makes the commit that was sent, or is about to be, and shows it.
Status create_undecided(TreeRemote::Impl& remote, const Context& context) {
  const uint64_t seq = remote.undecided->seq;
  auto created = remote.log->create(seq, remote.undecided->record, context);
  CAIRN_FAILPOINT("remote.created");
  if (created) {
    remote.unnamed_packs.clear();  // it names all data packs that were sent before it
    remote.undecided.reset();
    remote.pack_salt = remote.parts.rng.next();
    const bool closed = !created->record->writer.open;
    remote.show(*std::move(created));
    if (closed) {
      remote.log->leave_hint(seq, context);
      remote.stop_writing();
    } else {
      remote.log->hint_head(seq);
    }
    return {};
  }
  Error error = std::move(created).error();
  // Another commit in its place decides it. After anything else this one may be in the store or get
  // there yet, and a different one with its number would meet it as if it were another writer's.
  if (error.code() != Errc::kPrecondition && error.code() != Errc::kFenced)
    return tl::unexpected<Error>(std::move(error));
  remote.undecided.reset();
  if (error.code() == Errc::kPrecondition) error = remote.log->lost_to(seq, context);
  remote.set_fenced();
  return tl::unexpected<Error>(std::move(error));
}
}  // namespace

Status TreePublisher::commit() {
  TRY_ASSIGN(const CommitRecord next, record());
  TRY_ASSIGN(ByteVec encoded, next.encode());
  const Buffer bytes(std::move(encoded));
  CAIRN_FAILPOINT("remote.packs_sent");
  TRY(host_.commit_intended(next.seq, bytes));
  CAIRN_FAILPOINT("remote.intended");
  remote_.undecided = TreeRemote::Impl::Undecided{next.seq, bytes};
  return create_undecided(remote_, context_);
}

namespace {
// Whether all packs and segments that the record names, and the one before did not, are in the
// store.
Result<bool> names_what_is_there(TreeRemote::Impl& remote, const CommitRecord& record,
                                 const Context& context) {
  const CommitRecord& before = *remote.snapshot()->commit.record;
  std::set<std::string> keys;
  for (const PackName& pack : all_packs(record)) keys.insert(pack_key(pack.digest));
  for (const SegmentName& one : index_segments(record)) keys.insert(index_key(one.digest));
  for (const PackName& pack : all_packs(before)) keys.erase(pack_key(pack.digest));
  for (const SegmentName& one : index_segments(before)) keys.erase(index_key(one.digest));
  for (const std::string& key : keys) {
    const auto there = head_sync(remote.parts.store, key, context);
    if (!there && there.error().code() == Errc::kNotFound) return false;
    if (!there) return tl::unexpected<Error>(there.error());
  }
  return true;
}

// Gives up a commit that names what another store has, when it has not arrived in this one. Should
// it arrive later all the same, the next one finds it in its place and is fenced.
Status drop_doubtful(TreeRemote::Impl& remote, const Context& context) {
  TRY_ASSIGN(const CommitRecord record, CommitRecord::decode(remote.undecided->record));
  TRY_ASSIGN(const bool whole, names_what_is_there(remote, record, context));
  remote.undecided->doubtful = false;
  if (whole) return {};
  const auto there = remote.log->read(record.seq, context);
  if (there) return {};
  if (there.error().code() != Errc::kNotFound) {
    remote.undecided->doubtful = true;
    return tl::unexpected<Error>(there.error());
  }
  remote.undecided.reset();
  return {};
}
}  // namespace

Status settle_commit(TreeRemote::Impl& remote, const Context& context) {
  if (!remote.undecided) return {};
  auto look = remote.log->look_back(remote.snapshot()->commit, context);
  TRY(check_store(remote, look, context));
  if (remote.undecided->doubtful) TRY(drop_doubtful(remote, context));
  return remote.undecided ? create_undecided(remote, context) : Status();
}

Status check_store(TreeRemote::Impl& remote, CommitLog::LookBack& look, const Context& context) {
  Status there = remote.log->check_back(look, context);
  if (there) return {};
  if (there.error().code() == Errc::kFenced) {
    remote.set_fenced();
    return tl::unexpected<Error>(remote.log->lost_to(look.newest.record->seq + 1, context));
  }
  // What was sent and is named by no commit may have gone into the other store.
  remote.unnamed_packs.clear();
  remote.packs->forget_put();
  if (remote.undecided) remote.undecided->doubtful = true;
  return there;
}

Result<PublishedState> commit_collection(TreeRemote::Impl& remote, Remote& port, PublishHost& host,
                                         const CollectionStep& step, Context context) {
  TRY_ASSIGN(const auto one_at_a_time, remote.hold_still(context));
  if (!remote.state().writing)
    return fail(Errc::kFenced, "this mount is not the volume's writer any more");
  TRY(settle_commit(remote, context));
  const auto shown = remote.snapshot();
  if (!remote.state().writing)
    return fail(Errc::kUnsupported, "the volume was closed meanwhile");
  PublishBatch nothing;
  nothing.lsn = shown->commit.record->writer.lsn;
  TreePublisher publisher(remote, port, nothing, host, std::move(context));
  return publisher.run(step);
}

Result<PublishedState> publish_tree(TreeRemote::Impl& remote, Remote& port,
                                    const PublishBatch& batch, PublishHost& host, Context context) {
  const std::lock_guard one_at_a_time(remote.moving);
  const TreeRemote::State state = remote.state();
  if (state.fenced)
    return fail(Errc::kFenced, "another writer took the volume over; nothing more is published");
  if (!state.writing)
    return fail(Errc::kUnsupported, "this mount has not opened the volume for writing");
  // The commit before this one may have got there after all.
  TRY(settle_commit(remote, context));
  const bool nothing = batch.edits.empty() && !batch.close;
  const auto shown = remote.snapshot();
  const bool done =
      batch.lsn == shown->state.lsn && batch.close == !shown->commit.record->writer.open;
  if (nothing || done) return shown->state;
  TreePublisher publisher(remote, port, batch, host, std::move(context));
  return publisher.run();
}

}  // namespace cairn
