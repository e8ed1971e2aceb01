// Publishing: from the journal to the store, and giving back what the store then holds.
#include <algorithm>
#include <set>

#include "cache/base/failpoint.h"
#include "cache/base/log.h"
#include "cache/commit_pace.h"
#include "cache/engine.h"

namespace cairn {

namespace {
constexpr Duration kGrowingMax = std::chrono::seconds(5);  // of a publication
}  // namespace

Result<std::shared_ptr<File>> Engine::open_data(const DataRef& ref) {
  if (ref.kind == DataRef::Kind::kJournal) return journal_->file(ref.file);
  return segments_->file(ref.file);
}

Result<std::optional<Buffer>> Engine::resident(uint64_t inode, uint64_t chunk, const Leaf& leaf) {
  return chunks_.whole(inode, chunk, leaf);
}

void Engine::chunk_staged(uint64_t inode, uint64_t chunk, const Leaf& leaf, Buffer bytes) {
  Staged staged{inode, chunk, leaf, std::nullopt};
  if (!bytes.empty() && !leaf.zero && make_room(bytes.size())) {
    // Only kept, not named yet: the row is made when the commit is there.
    if (auto ref = segments_->append(SegmentClass::kClean, bytes)) staged.ref = *ref;
  }
  const std::lock_guard lock(state_mutex_);
  staged_.insert_or_assign(std::pair(inode, chunk), std::move(staged));
}

void Engine::uploaded(uint64_t bytes) {
  uploaded_bytes_ += bytes;
  const std::lock_guard lock(state_mutex_);
  last_progress_ = clock_.now();
  // What a request met that worked in the end. What a whole publish failed of may be another one.
  if (health_.failing && failing_of_trouble_) {
    health_.failing = false;
    health_.last_error.clear();
  }
}

void Engine::progressed() {
  const std::lock_guard lock(state_mutex_);
  last_progress_ = clock_.now();
}

Status Engine::commit_intended(uint64_t seq, Bytes record) {
  ByteVec head;
  put_le(head, seq);
  const Bytes parts[] = {head, record};
  const auto at = journal_->append(kRecordCommitIntent, parts, Space::Use::kPublish);
  Status kept = at ? journal_->sync(at->lsn) : tl::unexpected<Error>(at.error());
  if (!kept) failed_here_ = true;
  return kept;
}

Result<bool> Engine::publish_once(bool close, Context context) {
  TRY_ASSIGN(const bool published, publish_batch(close, std::move(context)));
  if (published) TRY(settle());
  return published;
}

Result<bool> Engine::publish_batch(bool close, Context context) {
  const std::lock_guard one_at_a_time(publish_mutex_);
  TRY(refuse_when_stopped());
  TRY(local_health());  // nothing could be committed
  // What a bucket has of ours is known here from the checkpoint only: no batch goes beyond the
  // next one.
  if (remote_->params().only_objects && settled_ < published_) TRY(settle());
  const Lsn after = published_;
  Lsn upto = 0;
  {
    // What is kept back and what goes after all is read from the tables: they have these records.
    const std::lock_guard lock(commit_mutex_);
    upto = journal_->appended();
  }
  FoldLimits limits = settings_.fold;
  limits.moves_alone = remote_->params().only_objects;
  TRY_ASSIGN(Fold fold, fold_journal(*journal_, after, upto, live_.chunk_bytes(), limits));
  fold.batch.close = close && fold.batch.lsn == upto;
  context.trouble = trouble_;
  const auto split = split_kept(fold.batch, context);
  // Without a batch the store may not have been asked: it only answers again if this says so.
  const bool answers_again = std::exchange(split_failed_, !split) && split;
  if (!split) {
    note_remote(tl::unexpected<Error>(split.error()));
    return tl::unexpected<Error>(Error(split.error()).wrap("what is held back"));
  }
  const KeptChange& kept = *split;
  if (fold.batch.lsn == after && !fold.batch.close && kept.release.empty()) {
    if (answers_again) note_remote({});
    note_reconsidered(kept);
    return false;
  }
  CAIRN_FAILPOINT("publish.folded");
  // An object is visible with its PUT. Blocks are not before the commit, which waits for the disk
  // (commit_intended): until then both are busy.
  if (remote_->params().only_objects)
    TRY(journal_->sync(fold.batch.lsn));
  else
    sync_behind();
  {
    const std::lock_guard lock(state_mutex_);
    staged_.clear();
    uploading_ = {fold.batch.lsn, fold.written_bytes, uploaded_bytes_, clock_.now()};
  }
  const uint64_t uploaded_before = uploaded_bytes_;
  const uint64_t written_before = published_bytes_;
  growing_ = close ? nullptr : &fold;
  failed_here_ = false;
  auto state = remote_->publish(fold.batch, *this, context);
  growing_ = nullptr;
  // Where nothing had to be sent no commit waited for the disk. What a failing disk says is not
  // said of the store.
  Status durable = state ? journal_->sync(fold.batch.lsn) : local_health();
  if (!state || !durable) {
    const std::lock_guard lock(state_mutex_);
    uploading_ = {};
  }
  if (!durable) return tl::unexpected<Error>(std::move(durable).error().wrap("publish"));
  if (!state) {
    if (!failed_here_) note_remote(tl::unexpected<Error>(state.error()));
    return tl::unexpected<Error>(std::move(state).error().wrap("publish"));
  }
  CAIRN_FAILPOINT("publish.sent");
  note_remote({});
  TRY(after_publish(fold, kept));
  if (fold.records == 0) return true;
  adapt_interval(uploaded_bytes_ - uploaded_before, published_bytes_ - written_before);
  return true;
}

Result<bool> Engine::extend_batch() {
  if (growing_ == nullptr || !more_goes_with(*growing_)) return false;
  Fold& fold = *growing_;
  Lsn upto = 0;
  {
    const std::lock_guard lock(commit_mutex_);
    upto = journal_->appended();
  }
  // Who waits is looked at between two steps.
  FoldLimits limits = settings_.fold;
  limits.data_bytes_max =
      std::min(limits.data_bytes_max, fold.written_bytes + settings_.publish_bytes);
  auto longer = extend_fold(*journal_, std::move(fold), upto, live_.chunk_bytes(), limits);
  if (!longer) {
    failed_here_ = true;
    return tl::unexpected<Error>(std::move(longer).error());
  }
  fold = *std::move(longer);
  CAIRN_FAILPOINT("publish.extended");
  sync_behind();
  const std::lock_guard lock(state_mutex_);
  uploading_.lsn = fold.batch.lsn;
  uploading_.bytes = fold.written_bytes;
  return true;
}

// Between two commits the line waits for the last pack, the metadata and the commit, one after the
// other. So what came while the batch was staged goes with it, where that is much, which it is when
// the line is slower than who writes, or where somebody wants it there. Unless somebody waits for
// this commit, or it is late already. (Of many records the memory is needed twice for a moment.)
bool Engine::more_goes_with(const Fold& fold) const {
  const FoldLimits& limits = settings_.fold;
  if (fold.written_bytes >= limits.data_bytes_max || fold.records >= limits.records_max / 2)
    return false;
  const std::lock_guard lock(state_mutex_);
  if (stopping_ || last_change_ <= fold.batch.lsn) return false;
  if (!waiters_.empty() || asked_waiters_ > 0) return false;
  if (clock_.now() - uploading_.began >= kGrowingMax) return false;
  if (flush_target_ > published_) return flush_target_ > fold.batch.lsn;
  return written_bytes_ >= published_bytes_ + fold.local_bytes + settings_.publish_bytes;
}

void Engine::adapt_interval(uint64_t uploaded_bytes, uint64_t written_bytes) {
  const CommitPace pace{settings_.publish_interval, settings_.publish_interval_max};
  const std::lock_guard lock(state_mutex_);
  commit_interval_ = next_commit_interval(commit_interval_, pace, uploaded_bytes, written_bytes);
}

Duration Engine::commit_interval() const {
  const std::lock_guard lock(state_mutex_);
  return commit_interval_;
}

Status Engine::after_publish(const Fold& fold, const KeptChange& kept) {
  const PublishBatch& batch = fold.batch;
  TRY(settle_kept(fold, kept));
  // First what is here is known as clean content, then the written extents go: a reader finds
  // one or the other.
  for (const FrozenFile& file : batch.files) {
    keep_staged(file);
    TRY(checkpoint_when_large());
  }
  CAIRN_FAILPOINT("publish.kept");
  constexpr size_t kStep = 256;  // rows changed under one hold of the lock
  for (size_t i = 0; i < batch.files.size(); ++i) {
    TRY(checkpoint_when_large());
    const std::lock_guard lock(commit_mutex_);
    if (is_orphan(batch.files[i].inode)) continue;
    TRY(live_.drop_published_file(batch.files[i], batch.lsn));
  }
  for (size_t i = 0; i < batch.edits.size(); i += kStep) {
    TRY(checkpoint_when_large());
    const std::lock_guard lock(commit_mutex_);
    TRY(live_.drop_published_edits(batch.edits, i, std::min(i + kStep, batch.edits.size()),
                                   batch.lsn));
  }
  {
    // Who names one from here on writes it again, and it is newer then.
    std::set<Digest> named;
    if (!batch.blocks.empty()) {
      TRY_ASSIGN(named, kept_blocks());
    }
    const std::lock_guard lock(commit_mutex_);
    TRY(live_.drop_published_blocks(batch.blocks, batch.lsn, named));
  }
  {
    const std::lock_guard lock(eviction_mutex_);
    kept_segments_.rows_are_gone();
  }
  {
    const std::lock_guard lock(state_mutex_);
    staged_.clear();
    // The mark that the first unpublished record belongs to stays: it says how much came before
    // (rounded down to the mark) and since when it waits.
    while (marks_.size() > 1 && marks_[1].lsn <= batch.lsn + 1) marks_.pop_front();
    if (batch.lsn >= last_change_) marks_.clear();
    uploading_ = {};
    published_bytes_ = marks_.empty() ? written_bytes_.load() : marks_.front().bytes_before;
    last_progress_ = clock_.now();
  }
  CAIRN_FAILPOINT("publish.dropped");
  note_reconsidered(kept);  // first: a flush ends when both say that nothing is left
  set_published(batch.lsn);
  return {};
}

Status Engine::settle() {
  TRY(checkpoint());
  {
    const std::lock_guard lock(state_mutex_);
    settled_behind_ = {};  // an older one that failed is made good
  }
  wake_waiters();
  return {};
}

// What a publication changes in the tables is bounded in memory like everything else. A checkpoint
// may come between any two rows: after a crash the commit, which is in the store, says what else
// goes.
Status Engine::checkpoint_when_large() {
  if (tables_->memory_bytes() < settings_.memtable_bytes) return {};
  return checkpoint();
}

void Engine::set_published(Lsn lsn) {
  const std::lock_guard lock(commit_mutex_);  // no change is between its record and last_change_
  published_ = last_change_ <= lsn ? std::max(lsn, journal_->appended()) : lsn;
}

void Engine::keep_staged(const FrozenFile& file) {
  for (const FrozenFile::Chunk& chunk : file.chunks) {
    Staged staged;
    {
      const std::lock_guard lock(state_mutex_);
      const auto it = staged_.find({file.inode, chunk.index});
      if (it == staged_.end()) continue;
      staged = it->second;
    }
    if (staged.ref) {
      chunks_.adopt(file.inode, chunk.index, staged.leaf, *staged.ref);
      continue;
    }
    // Written in one piece: it lies where it was written.
    if (chunk.extents.size() != 1 || !chunk.extents[0].has_ref() ||
        chunk.extents[0].length < staged.leaf.length || chunk.extents[0].offset != 0)
      continue;
    const DataRef& ref = chunk.extents[0].ref;
    if (ref.kind == DataRef::Kind::kSegment) {
      chunks_.adopt(file.inode, chunk.index, staged.leaf, ref);
      continue;
    }
    // Inside the journal, which will be trimmed: copy it.
    const auto in_journal = journal_->file(ref.file);
    if (!in_journal || !make_room(staged.leaf.length)) continue;
    ByteVec bytes(staged.leaf.length);
    const auto n = (*in_journal)->read_at(ref.offset, bytes);
    if (n && *n == bytes.size())
      chunks_.put(file.inode, chunk.index, staged.leaf, Buffer(std::move(bytes)),
                  SegmentClass::kClean);
  }
}

Result<CollectReport> Engine::collect(
    const std::function<Result<CollectReport>(PublishHost&)>& work) {
  TRY(refuse_when_stopped());
  auto report = work(*this);
  if (!report && report.error().code() == Errc::kFenced)
    note_remote(tl::unexpected<Error>(report.error()));
  // The notes of its commits in the journal wait for no publish. One that runs says so itself, and
  // may wait for the store for longer than the caller wants to.
  if (const std::unique_lock lock(publish_mutex_, std::try_to_lock); lock)
    set_published(published_);
  return report;
}

Status Engine::checkpoint() {
  const std::lock_guard one_at_a_time(checkpoint_mutex_);
  std::vector<uint64_t> unnamed;
  {
    const std::lock_guard lock(eviction_mutex_);
    unnamed = kept_segments_.take();
  }
  Status written = write_checkpoint();
  const std::lock_guard lock(eviction_mutex_);
  if (written)
    kept_segments_.forget(unnamed);
  else
    kept_segments_.give_back(std::move(unnamed));
  return written;
}

Status Engine::write_checkpoint() {
  Lsn cut = 0;
  Lsn published = 0;
  {
    const std::lock_guard lock(commit_mutex_);
    cut = journal_->appended();
    published = published_;
    live_.put_checkpoint_marks(cut, published, segments_->numbers_end());
    live_.put_state(kBookmarkKey, to_string(bookmark_()));
    tables_->freeze();
  }
  CAIRN_FAILPOINT("checkpoint.frozen");
  // What the checkpoint contains must be in the journal for good before it is.
  TRY(journal_->sync(cut));
  CAIRN_FAILPOINT("checkpoint.synced");
  TRY(tables_->write_frozen());
  CAIRN_FAILPOINT("checkpoint.written");
  checkpointed_ = std::max(checkpointed_.load(), cut);
  settled_ = std::max(settled_.load(), std::min(cut, published));
  {
    const std::lock_guard lock(state_mutex_);
    last_checkpoint_ = clock_.now();
  }
  return journal_->trim(std::min(settled_.load(), orphan_floor()));
}

Lsn Engine::orphan_floor() const {
  std::set<uint64_t> orphans;
  {
    const std::lock_guard lock(state_mutex_);
    orphans = orphans_;
  }
  Lsn floor = UINT64_MAX;
  for (const uint64_t inode : orphans) {
    const auto rows = live_.scan_extents(inode, 0, UINT64_MAX, SIZE_MAX);
    if (!rows) return 0;
    for (const auto& row : *rows)
      for (const Extent& extent : row.extents)
        if (extent.has_ref() && extent.ref.kind == DataRef::Kind::kJournal)
          floor = std::min(floor, extent.ref.file - 1);
  }
  return floor;
}

Status Engine::flush(Context context, const std::function<void(PendingStatus)>& progress) {
  const Lsn target = appended();
  const auto is_done = [this, target] { return published_ >= target && !reconsiders_; };
  if (settings_.read_only || is_done()) return {};
  {
    const std::lock_guard lock(state_mutex_);
    flush_target_ = std::max(flush_target_, target);
    retry_at_ = clock_.now();
  }
  kick_publisher();
  std::unique_lock lock(state_mutex_);
  while (!is_done()) {
    if (health_.fenced)
      return fail(Errc::kFenced,
                  "another writer took this volume over; what is left here can be "
                  "taken out with 'cairn recover'");
    if (stopping_ || context.cancel.cancelled() || context.deadline.passed(clock_)) {
      const std::string& error = health_.last_error.empty() ? publish_error_ : health_.last_error;
      const std::string why = error.empty() ? "" : " (" + error + ")";
      lock.unlock();
      return fail(Errc::kTimeout, std::to_string(pending().bytes) + " bytes in " +
                                      std::to_string(pending().files) +
                                      " files are not in the store yet" + why);
    }
    idle_.wait_for(lock, std::chrono::milliseconds(200));
    if (progress) {
      lock.unlock();
      progress(pending());
      lock.lock();
    }
  }
  return {};
}

Status Engine::close(Context context, const std::function<void(PendingStatus)>& progress) {
  if (const Status kept = remote_->settle(); !kept)
    log_warn("the names of the objects are listed anew next time: {}", kept.error().message());
  if (settings_.read_only) {
    abandon();
    if (journal_) return {};
    tidy_up();
    return tables_->checkpoint();
  }
  Status flushed = flush(context, progress);
  abandon();
  if (flushed) {
    const auto closed = publish_once(true, context);
    if (!closed) flushed = tl::unexpected<Error>(closed.error());
  }
  // Whatever happened in the store, what is here must survive.
  TRY(journal_->sync(journal_->appended()));
  tidy_up();
  TRY(checkpoint());
  return flushed;
}

void Engine::tidy_up() {
  Status tidied = segments_->seal();
  if (tidied) tidied = drop_unused_segments();
  if (!tidied) log_warn("unused segments stay in the cache: {}", tidied.error().message());
}

}  // namespace cairn
