#include "cache/tree_remote.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <utility>

#include "cache/base/log.h"
#include "cache/collector.h"
#include "cache/commit_parts.h"
#include "cache/format/mst.h"
#include "cache/format/records.h"
#include "cache/index_rebuild.h"
#include "cache/tree_publish.h"
#include "cache/tree_remote_impl.h"
#include "cache/wait.h"

namespace cairn {
namespace {

constexpr size_t kFollowChangesMax = 100'000;
constexpr Duration kMovedRecently = std::chrono::seconds(30);
// A reader that comes to a tail among them waits for it as long, whatever its own patience.
constexpr Duration kPlacesAheadTime = std::chrono::seconds(10);

bool unreachable(const Error& error) {
  return error.code() == Errc::kTransient || error.code() == Errc::kTimeout;
}

}  // namespace

TreeRemote::Impl::Impl(Components components, Options opened_with)
    : parts(components), options(std::move(opened_with)), pack_salt(parts.rng.next()) {}

TreeRemote::Impl::~Impl() {
  if (!asker_) return;
  asker_->over.cancel();
  const std::lock_guard lock(asker_->mutex);
  asker_->remote = nullptr;
}

// ---- opening

std::optional<LastSeen> TreeRemote::Impl::last_seen() const {
  if (!last_commit_) return std::nullopt;
  return LastSeen{last_commit_->record->seq, last_commit_->record->root};
}

Status TreeRemote::Impl::open(Context context) {
  if (!options.last_commit_record.empty()) {
    TRY_ASSIGN(last_commit_, stored_commit(options.last_commit_record));
  }
  log = std::make_unique<CommitLog>(parts.store, parts.executor, parts.clock, parts.rng,
                                    CommitLog::Options{});
  TRY(make_stores());
  const uint64_t link_bytes = options.metadata_memory_bytes / 8;
  nodes = std::make_unique<NodeCache>(options.metadata_memory_bytes - link_bytes);
  links = std::make_unique<LinkCache>(link_bytes);
  if (options.mode == Mode::kFollower && !options.pinned) {
    Executor& background = parts.background != nullptr ? *parts.background : parts.executor;
    asker_ = std::make_shared<Asker>();
    asker_->remote = this;
    packs->on_lost([asker = asker_, &background](Callback<void> done) {
      {
        const std::lock_guard lock(asker->waiting_mutex);
        asker->waiting.push_back(std::move(done));
        if (asker->waiting.size() > 1) return;  // one question will do
      }
      background.submit([asker] {
        std::vector<Callback<void>> waiting;
        {
          const std::lock_guard lock(asker->waiting_mutex);
          waiting.swap(asker->waiting);
        }
        Status asked = fail(Errc::kCancelled, "the volume is not open any more");
        {
          const std::lock_guard lock(asker->mutex);
          if (asker->remote != nullptr) {
            Context bounded;
            bounded.cancel = asker->over;
            bounded.deadline = Deadline::after(asker->remote->parts.clock,
                                               asker->remote->options.io_timeout);
            asked = asker->remote->find_places(bounded);
          }
        }
        for (const Callback<void>& waiter : waiting) waiter(asked);
      });
    });
  }

  if (options.offline) {
    offline_ = true;
    TRY(show_pinned());
    return read_superblock(context);
  }
  Status found = options.pinned ? show_pinned() : find_head(context, options.head_look);
  if (!found) {
    if (options.pinned || options.at || !last_commit_ || !unreachable(found.error())) return found;
    log_warn("{}: cannot be reached ({}); going on with commit {} of this cache",
             parts.store.description(), found.error().message(), last_commit_->record->seq);
    offline_ = true;
    TRY(show_pinned());
  }
  return read_superblock(context);
}

Status TreeRemote::Impl::show_pinned() {
  if (!last_commit_)
    return fail(Errc::kNotFound, "this cache has not seen a commit of the volume yet");
  if (last_commit_->record->writer.cache_id == options.cache_id)
    own_lsn_ = last_commit_->record->writer.lsn;
  show(*last_commit_);
  return {};
}

Status TreeRemote::Impl::find_head(const Context& context, std::shared_ptr<HeadLook> look) {
  TRY_ASSIGN(StoredCommit head, log->find_head(last_seen(), context, std::move(look)));
  if (last_commit_ && last_commit_->record->writer.cache_id == options.cache_id)
    own_lsn_ = std::max(own_lsn_, last_commit_->record->writer.lsn);
  if (options.at) {
    TRY(show_point(head, context));
  } else {
    show(std::move(head));
  }
  const auto shown = snapshot();
  const Status fetched = await<void>([&](Callback<void> done) {
    auto [now, tails] = metadata_ahead(*shown->commit.record, options.prefetch_bytes,
                                       blocks->whole_pack_bytes_max());
    std::erase_if(tails, [&](const PackName& pack) { return blocks->has_all_of(pack.digest); });
    // First what is waited for.
    blocks->prefetch(std::move(now), context, std::move(done));
    places_ahead_.fetch(
        *packs, std::move(tails), young_packs(*newest_commit().record),
        {.tails = options.tails_ahead,
         .tail_bytes = options.tail_memory_bytes,
         .index_bytes = std::min(options.index_ahead_bytes, options.page_memory_bytes / 2)},
        Deadline::after(parts.clock, std::min(options.io_timeout, kPlacesAheadTime)));
  });
  // What is missing is fetched when it is asked for.
  if (!fetched) log_warn("metadata was not fetched ahead: {}", fetched.error().message());
  return {};
}

Status TreeRemote::Impl::show_point(const StoredCommit& head, const Context& context) {
  TRY_ASSIGN(StoredCommit wanted, find_commit(parts.store, *log, *options.at, head, context));
  show(std::move(wanted));
  const std::lock_guard lock(mutex_);
  set_places(*published_->commit.record, *head.record);
  newest_ = head;
  return {};
}

Status TreeRemote::Impl::look_for_intended(Buffer record, const Context& context) {
  TRY_ASSIGN(const StoredCommit intended, stored_commit(std::move(record)));
  const auto there = log->read(intended.record->seq, context);
  if (!there && there.error().code() == Errc::kNotFound) return {};
  if (!there) return tl::unexpected<Error>(there.error());
  if (there->digest != intended.digest) return {};
  own_lsn_ = std::max(own_lsn_, intended.record->writer.lsn);
  show(snapshot()->commit);
  return {};
}

Status TreeRemote::Impl::read_superblock(const Context& context) {
  // The parameter that nodes are checked with stands in the tree itself: it is the one with which
  // the way to the superblock checks out.
  Error error(Errc::kCorruption, "the tree has no superblock");
  std::optional<Superblock> super;
  for (unsigned bits = kMinFanoutBits; bits <= kMaxFanoutBits && !super; ++bits) {
    auto found = try_superblock(bits, context);
    if (found && *found && (*found)->fanout_bits == bits) super = **found;
    if (!found && found.error().code() != Errc::kCorruption)
      return tl::unexpected<Error>(std::move(found).error());
    if (!found) error = std::move(found).error();
  }
  if (!super) return tl::unexpected<Error>(std::move(error).wrap(parts.store.description()));
  TRY_ASSIGN(const Access access, check_features(super->features));
  read_only_ = access == Access::kReadOnly;
  params.chunk_bytes = static_cast<uint32_t>(super->chunk_size);
  params.links_per_node = static_cast<uint32_t>(super->links_per_node);
  params.fanout_bits = static_cast<uint32_t>(super->fanout_bits);
  params.quota_bytes = super->quota_bytes;
  params.volume_id = super->uuid;
  TRY_ASSIGN(shape, UnixfsShape::make({params.chunk_bytes, params.links_per_node}));
  return {};
}

Result<std::optional<Superblock>> TreeRemote::Impl::try_superblock(unsigned fanout_bits,
                                                                   const Context& context) {
  NodeCache scratch(0);  // what is decoded with a wrong parameter must not be kept
  const Digest root = snapshot()->state.root.digest();
  TRY_ASSIGN(const auto value, with_fetch(context, [&](Missing& missing) {
               LocalNodes reader(*blocks, scratch, fanout_bits, missing);
               return mst_find(reader, root, superblock_key());
             }));
  if (!value) return std::optional<Superblock>();
  TRY_ASSIGN(const Buffer bytes, with_fetch(context, [&](Missing& missing) -> Result<Buffer> {
               if (value->is_identity()) return Buffer::copy(value->payload());
               return blocks->get(value->digest(), missing);
             }));
  TRY_ASSIGN(Superblock super, Superblock::decode(bytes));
  return std::optional<Superblock>(std::move(super));
}

// ---- reading

std::shared_ptr<const TreeRemote::Impl::Published> TreeRemote::Impl::snapshot() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

Result<std::optional<Cid>> TreeRemote::Impl::find(const Cid& root, std::string_view key,
                                                  Missing& missing) {
  LocalNodes reader(*blocks, *nodes, params.fanout_bits, missing);
  return mst_find(reader, root.digest(), key);
}

Status TreeRemote::Impl::fetch_now(const Missing& missing, const Context& context) {
  return await<void>(
      [&](Callback<void> done) { blocks->fetch(missing.digests(), context, std::move(done)); });
}

// ---- the published state

void TreeRemote::Impl::show(StoredCommit commit) {
  const CommitRecord& record = *commit.record;
  auto next = std::make_shared<Published>();
  next->state.seq = record.seq;
  next->state.epoch = record.epoch;
  next->state.root = record.root;
  next->state.time_ns = record.time_ns;
  next->state.live_bytes = record.totals.live_bytes;
  next->state.inodes = record.totals.inodes;
  next->state.stored_bytes = record.totals.stored_bytes;
  for (const CondemnedPack& pack : record.condemned_packs)
    next->state.condemned_bytes += pack.size;
  if (record.writer.cache_id == options.cache_id) own_lsn_ = std::max(own_lsn_, record.writer.lsn);
  next->state.lsn = own_lsn_;
  next->commit = std::move(commit);
  const MonotonicTime now = parts.clock.now();
  const std::lock_guard lock(mutex_);
  set_places(*next->commit.record, *next->commit.record);
  if (published_) moved_at_ = now;
  newest_ = next->commit;
  published_ = std::move(next);
}

void TreeRemote::Impl::set_places(const CommitRecord& shown, const CommitRecord& newest) {
  std::vector<PackName> named = metadata_packs(shown);
  if (shown.seq != newest.seq) {
    std::set<Digest> there;
    for (const PackName& pack : named) there.insert(pack.digest);
    for (const PackName& pack : metadata_packs(newest))
      if (there.insert(pack.digest).second) named.push_back(pack);
  }
  for (const PackName& pack : young_packs(newest)) named.push_back(pack);
  packs->set_published(std::move(named), index_segments(newest));
  packs->set_condemned(condemned_names(newest));
}

Status TreeRemote::Impl::find_places(const Context& context) {
  StoredCommit known;
  {
    const std::lock_guard lock(mutex_);
    known = newest_;
  }
  // What comes next may be removed from the history already, so it is not looked for there.
  TRY_ASSIGN(StoredCommit head,
             log->find_head(LastSeen{known.record->seq, known.record->root}, context));
  const std::lock_guard lock(mutex_);
  if (newest_.record->seq >= head.record->seq) return {};
  set_places(*published_->commit.record, *head.record);
  newest_ = std::move(head);
  return {};
}

TreeRemote::State TreeRemote::Impl::state() const {
  const auto shown = snapshot();
  const CommitRecord& record = *shown->commit.record;
  State state;
  state.head.ours = record.writer.cache_id == options.cache_id;
  state.head.open = record.writer.open;
  state.head.host = record.writer.host;
  state.head.time_ns = record.time_ns;
  state.read_only = read_only_;
  const std::lock_guard lock(mutex_);
  state.offline = offline_;
  state.fenced = fenced_;
  state.writing = writing_;
  return state;
}

StoredCommit TreeRemote::Impl::newest_commit() const {
  const std::lock_guard lock(mutex_);
  return newest_;
}

void TreeRemote::Impl::set_fenced() {
  const std::lock_guard lock(mutex_);
  fenced_ = true;
  writing_ = false;
}

void TreeRemote::Impl::stop_writing() {
  const std::lock_guard lock(mutex_);
  writing_ = false;
}

bool TreeRemote::Impl::moved_recently() const {
  const MonotonicTime now = parts.clock.now();
  const std::lock_guard lock(mutex_);
  return moved_at_ && now - *moved_at_ < kMovedRecently;
}

Result<std::unique_lock<LongMutex>> TreeRemote::Impl::hold_still(const Context& context) {
  constexpr Duration kLookAgain = std::chrono::milliseconds(20);
  std::unique_lock lock(moving, std::try_to_lock);
  while (!lock) {
    TRY(pause(parts.executor, parts.clock, kLookAgain, context));
    lock.try_lock();
  }
  return lock;
}

Status TreeRemote::Impl::go_online(const Context& context) {
  if (!state().offline) return {};
  TRY(find_head(context, nullptr));
  const std::lock_guard lock(mutex_);
  offline_ = false;
  return {};
}

Result<TreeRemote::Slot> TreeRemote::Impl::begin_writing(PublishHost& host,
                                                         const Context& context) {
  if (options.mode != Mode::kWriter || options.pinned)
    return fail(Errc::kUnsupported, "this mount is read-only: it follows the volume");
  const std::lock_guard one_at_a_time(moving);
  TRY(go_online(context));
  const auto shown = snapshot();
  WriterOptions writer;
  writer.cache_id = options.cache_id;
  writer.host = options.host;
  writer.takeover = options.takeover;
  writer.last_seen = LastSeen{shown->state.seq, shown->state.root};
  writer.intended = [&host](uint64_t seq, Bytes record) {
    return host.commit_intended(seq, record);
  };
  TRY_ASSIGN(OpenedWriter opened, log->open_writer(writer, context));
  const CommitRecord& record = *opened.opening.record;
  Slot slot;
  slot.slot = opened.slot;
  slot.epoch = record.epoch;
  slot.next_group = next_group(record, opened.slot);
  show(std::move(opened.opening));
  const std::lock_guard lock(mutex_);
  writing_ = true;
  return slot;
}

Result<TreeRemote::Slot> TreeRemote::Impl::begin_writing_offline() {
  if (options.mode != Mode::kWriter || options.pinned)
    return fail(Errc::kUnsupported, "this mount is read-only: it follows the volume");
  const auto shown = snapshot();
  const CommitRecord& record = *shown->commit.record;
  const CommitRecord::Writer& writer = record.writer;
  if (read_only_)
    return fail(Errc::kUnsupported, "this version must not write to the volume; use --read-only");
  if (writer.cache_id != options.cache_id || writer.slot == 0)
    return fail(Errc::kTransient,
                "the store cannot be reached, and the last commit this cache has seen was written "
                "by another node (" +
                    writer.host + "): only --read-only works without the store");
  const std::lock_guard lock(mutex_);
  writes_offline_ = true;
  return Slot{writer.slot, next_group(record, writer.slot), record.epoch};
}

Status TreeRemote::Impl::resume_writing(PublishHost& host, const Context& context) {
  {
    const std::lock_guard lock(mutex_);
    if (!writes_offline_) return {};
  }
  // Found soon whether the store is back, so that the next try comes soon, too.
  Context first = context;
  first.deadline = Deadline(std::min(first.deadline.at(), parts.clock.now() + options.io_timeout));
  TRY(go_online(first));
  const CommitRecord::Writer writer = snapshot()->commit.record->writer;
  if (writer.cache_id != options.cache_id) {
    set_fenced();
    return fail(Errc::kFenced, "another node (" + writer.host +
                                   ") wrote to the volume while this one was without the store");
  }
  TRY(begin_writing(host, context));
  const std::lock_guard lock(mutex_);
  writes_offline_ = false;
  return {};
}

// ---- following

Result<Changes> TreeRemote::Impl::follow(const Context& context) {
  if (options.at) return Changes();
  const std::lock_guard one_at_a_time(moving);
  TRY(go_online(context));
  const auto before = snapshot();
  const StoredCommit known = newest_commit();
  TRY_ASSIGN(auto newer, log->find_newer(known, context));
  if (!newer && known.record->seq > before->state.seq) newer = known;
  Changes changes;
  if (!newer) return changes;
  const Cid root = newer->record->root;
  changes.moved = true;
  // Packs first: the new nodes are in packs that only the new commit names. What is read of the
  // old tree meanwhile stays readable: packs it alone used are kept for the collector's grace.
  show(*std::move(newer));
  auto differ = with_fetch(context, [&](Missing& missing) -> Status {
    changes.keys.clear();
    LocalNodes reader(*blocks, *nodes, params.fanout_bits, missing);
    MstDiff diff(reader, before->state.root.digest(), root.digest());
    while (true) {
      TRY_ASSIGN(auto change, diff.next());
      if (!change) return {};
      if (changes.keys.size() == kFollowChangesMax) {
        changes.everything = true;
        return {};
      }
      changes.keys.push_back(std::move(change->key));
    }
  });
  if (!differ) {
    log_warn("{}: what commit {} changed cannot be told ({})", parts.store.description(),
             snapshot()->state.seq, differ.error().message());
    changes.everything = true;
  }
  if (changes.everything) changes.keys.clear();
  return changes;
}

// ---- the port

TreeRemote::TreeRemote(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TreeRemote::~TreeRemote() = default;

Result<std::unique_ptr<TreeRemote>> TreeRemote::open(Components components, Options options,
                                                     Context context) {
  auto impl = std::make_unique<Impl>(components, std::move(options));
  TRY(impl->open(std::move(context)));
  return std::unique_ptr<TreeRemote>(new TreeRemote(std::move(impl)));
}

Result<TreeRemote::Slot> TreeRemote::begin_writing(PublishHost& host, Context context) {
  return impl_->begin_writing(host, context);
}

Result<CollectReport> TreeRemote::collect(const CollectOptions& how, PublishHost& host,
                                          Context context) {
  return Collector(*impl_, *this, host, how, std::move(context)).run();
}

Result<std::vector<std::string>> TreeRemote::rebuild_index(PublishHost& host, Context context) {
  return IndexRebuild(*impl_, *this, host, std::move(context)).run();
}

Status TreeRemote::look_for_intended(Buffer record, Context context) {
  return impl_->look_for_intended(std::move(record), context);
}

TreeRemote::State TreeRemote::state() const {
  return impl_->state();
}

Buffer TreeRemote::commit_record() const {
  return impl_->newest_commit().bytes;
}

Buffer TreeRemote::shown_commit() const {
  return impl_->snapshot()->commit.bytes;
}

VolumeParams TreeRemote::params() const {
  return impl_->params;
}

PublishedState TreeRemote::published() const {
  return impl_->snapshot()->state;
}

Result<std::optional<Cid>> TreeRemote::find(std::string_view key, Missing& missing) {
  return impl_->find(impl_->snapshot()->state.root, key, missing);
}

Result<std::vector<TreeEntry>> TreeRemote::scan(std::string_view from, std::string_view to,
                                                size_t limit, Missing& missing) {
  LocalNodes reader(*impl_->blocks, *impl_->nodes, impl_->params.fanout_bits, missing);
  TRY_ASSIGN(auto items,
             mst_scan(reader, impl_->snapshot()->state.root.digest(), from, false, to, limit));
  std::vector<TreeEntry> entries;
  entries.reserve(items.size());
  for (MstItem& item : items) entries.push_back({std::move(item.key), item.value});
  return entries;
}

Result<Buffer> TreeRemote::block(const Digest& digest, Missing& missing) {
  return impl_->blocks->get(digest, missing);
}

Result<std::vector<Leaf>> TreeRemote::leaves(const Cid& content, uint64_t size, uint64_t first,
                                             uint64_t count, Missing& missing) {
  if (count == 0) return std::vector<Leaf>{};
  LocalBlocks reader(*impl_->blocks, *impl_->links, missing);
  const uint64_t last = count - 1 > UINT64_MAX - first ? UINT64_MAX : first + count - 1;
  TRY_ASSIGN(const auto places, unixfs_leaves(*impl_->shape, {content, size}, first, last, reader));
  std::vector<Leaf> leaves;
  leaves.reserve(places.size());
  for (const UnixfsPlace& place : places)
    leaves.push_back({place.digest, static_cast<uint32_t>(place.size), place.zero});
  return leaves;
}

Result<std::optional<uint64_t>> TreeRemote::next_data(const Cid& content, uint64_t size,
                                                      uint64_t first, Missing& missing) {
  LocalBlocks reader(*impl_->blocks, *impl_->links, missing);
  return next_unixfs_data(*impl_->shape, {content, size}, first, reader);
}

void TreeRemote::fetch(const Missing& missing, Context context, Callback<void> done) {
  // A node of a tree that is no longer shown may be in no pack that is still named. The caller runs
  // again from the start, and then asks for the nodes of the new one.
  auto finish = [impl = impl_.get(), done = std::move(done)](Status fetched) {
    if (!fetched && fetched.error().code() == Errc::kNotFound && impl->moved_recently())
      return done({});
    done(std::move(fetched));
  };
  impl_->blocks->fetch(missing.digests(), std::move(context), std::move(finish));
}

void TreeRemote::fetch_leaves(std::vector<Leaf> leaves, Context context, EachLeaf each,
                              Callback<std::vector<Buffer>> done) {
  std::vector<BlockWant> wants;
  std::vector<std::pair<size_t, uint32_t>> wanted;  // which leaf, and its length
  for (size_t i = 0; i < leaves.size(); ++i) {
    if (leaves[i].zero) continue;
    wants.push_back({leaves[i].digest, std::nullopt});
    wanted.emplace_back(i, leaves[i].length);
  }
  EachBlock sink;
  if (each)
    sink = [each = std::move(each), wanted = std::move(wanted)](size_t i, const Buffer& bytes) {
      if (bytes.size() == wanted[i].second) each(wanted[i].first, bytes);
    };
  const UnixfsShape& shape = *impl_->shape;
  auto finish = [leaves = std::move(leaves),
                 zeroes = shape.zero_leaf_block(shape.params().chunk_size),
                 done = std::move(done)](Result<std::vector<Buffer>> read) {
    if (!read) return done(std::move(read));
    std::vector<Buffer> out;
    out.reserve(leaves.size());
    size_t next = 0;
    for (const Leaf& leaf : leaves) {
      Buffer bytes = leaf.zero ? zeroes.slice(0, std::min<size_t>(leaf.length, zeroes.size()))
                               : std::move((*read)[next++]);
      if (bytes.size() != leaf.length)
        return done(fail(Errc::kCorruption,
                         "leaf " + leaf.digest.hex() + " has another length than its file says"));
      out.push_back(std::move(bytes));
    }
    done(std::move(out));
  };
  if (wants.empty())
    return impl_->parts.executor.submit(
        [finish = std::move(finish)] { finish(std::vector<Buffer>{}); });
  impl_->packs->read_blocks(std::move(wants), PackKind::kData, std::move(context), std::move(sink),
                            std::move(finish));
}

Result<TreeRemote::Slot> TreeRemote::begin_writing_offline() {
  return impl_->begin_writing_offline();
}

Result<PublishedState> TreeRemote::publish(const PublishBatch& batch, PublishHost& host,
                                           Context context) {
  TRY(impl_->resume_writing(host, context));
  return publish_tree(*impl_, *this, batch, host, std::move(context));
}

Result<Changes> TreeRemote::follow(Context context) {
  return impl_->follow(context);
}

}  // namespace cairn
